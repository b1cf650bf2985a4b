"""The rules of seals: the rows are those that were sealed, and no seal was taken out or changed."""

from typing import Final

from services.credits.adapters.seals import DIGEST
from services.credits.adapters.verification.rules import Look, Rule

CHAIN: Final = Look(
    "chain",
    """
    SELECT last_position AS position, NULL AS account_id, NULL AS task_id, NULL AS entry_id,
        seal_no, first_position, previous, head, sha256(previous || digest) AS head_due,
        coalesce(lag(seal_no) OVER chain, 0) AS seal_no_before,
        coalesce(lag(last_position) OVER chain, 0) AS last_position_before,
        coalesce(lag(head) OVER chain, decode(repeat('00', 32), 'hex')) AS head_before
    FROM credits.seals WINDOW chain AS (ORDER BY seal_no)""",
    (
        Rule(
            "seal_missing",
            "Seals are numbered 1, 2, 3 and on, each from where the one before it ends",
            "seal_no <> seal_no_before + 1 OR first_position <> last_position_before + 1",
            "format('seal %s comes after %s', seal_no, seal_no_before)",
        ),
        Rule(
            "chain_broken",
            "A seal names the head of the one before it, and its own is the hash of both",
            "previous <> head_before OR head <> head_due",
            "format('seal %s', seal_no)",
        ),
    ),
)
SEALED: Final = Look(
    "sealed",
    f"""
    SELECT last_position AS position, NULL AS account_id, NULL AS task_id, NULL AS entry_id,
        seal_no, first_position, last_position, seal.events, seal.digest,
        there.events AS events_there, there.digest AS digest_there
    FROM credits.seals AS seal, LATERAL (
        SELECT count(*) AS events, {DIGEST} AS digest
        FROM (
            SELECT * FROM credits.events
            WHERE position BETWEEN seal.first_position AND seal.last_position ORDER BY position
        ) AS event
    ) AS there""",
    (
        Rule(
            "row_removed",
            "As many rows are there as were sealed",
            "events <> events_there",
            "format('seal %s, positions %s to %s: %s of %s', seal_no, first_position,"
            " last_position, events_there, events)",
        ),
        Rule(
            "row_edited",
            "The rows are those that were sealed, to the letter",
            "events = events_there AND digest IS DISTINCT FROM digest_there",
            "format('seal %s: a row of positions %s to %s', seal_no, first_position,"
            " last_position)",
        ),
    ),
)
