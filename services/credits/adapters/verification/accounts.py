"""The rules of accounts: each entry follows the one before it, and all of them sum to zero."""

from typing import Final
from uuid import UUID

from services.credits.adapters.verification.messages import NOT_IN_INBOX
from services.credits.adapters.verification.rules import Look, Rule

_TYPES: Final = """('AccountOpened', 'GrantEntered', 'HoldEntered', 'CommitEntered',
    'ReleaseEntered', 'RefundEntered', 'AdjustmentEntered', 'ChargeEntered', 'ExpiryEntered')"""
# What an entry's own amount changes, by its type. Each `OFFSET 0` has the server take figures out
# of the JSON there, once: otherwise it does so for each use of one, and carries the JSON itself
# through the sort.
_ENTRY: Final = f"""
    SELECT position, stream_id COLLATE "C" AS stream_id, version, type, account_id, task_id,
        entry_id, units, back, granted, used, held,
        CASE type WHEN 'GrantEntered' THEN units WHEN 'ExpiryEntered' THEN -units
            WHEN 'AdjustmentEntered' THEN CASE WHEN taken THEN -units ELSE units END
            ELSE 0 END AS granted_by,
        CASE type WHEN 'CommitEntered' THEN units WHEN 'ChargeEntered' THEN units
            WHEN 'RefundEntered' THEN -units ELSE 0 END AS used_by,
        CASE type WHEN 'HoldEntered' THEN units WHEN 'ReleaseEntered' THEN -units
            WHEN 'CommitEntered' THEN -units - back ELSE 0 END AS held_by,
        CASE WHEN cause.message_id IS NULL AND causation_id >= $1 AND type <> 'AccountOpened'
            THEN causation_id END AS unheard
    FROM (
        SELECT position, stream_id, version, type, data->>'account_id' AS account_id,
            data->>'task_id' AS task_id, event_id AS entry_id,
            coalesce((data->>'amount_units')::bigint, 0) AS units,
            (data->>'released_units')::bigint AS back,
            coalesce((data->>'granted_after')::bigint, 0) AS granted,
            coalesce((data->>'used_after')::bigint, 0) AS used,
            coalesce((data->>'held_after')::bigint, 0) AS held,
            CASE WHEN type = 'AdjustmentEntered' THEN (data->>'taken')::boolean END AS taken,
            (metadata->>'causation_id')::uuid AS causation_id
        FROM credits.events WHERE stream_id LIKE 'account-%' OR type IN {_TYPES} OFFSET 0
    ) AS event
    LEFT JOIN credits.inbox AS cause ON cause.consumer = 'credits'
        AND cause.message_id = causation_id AND cause.state = 'done'
    OFFSET 0"""
_CHAINED: Final = f"""
    SELECT *,
        coalesce(lag(version) OVER entries, 0) AS version_before,
        coalesce(lag(granted) OVER entries, 0) + granted_by AS granted_due,
        coalesce(lag(used) OVER entries, 0) + used_by AS used_due,
        coalesce(lag(held) OVER entries, 0) + held_by AS held_due
    FROM ({_ENTRY}) AS entry
    WINDOW entries AS (PARTITION BY stream_id ORDER BY version)"""
_RULES: Final = (
    Rule(
        "version_gap",
        "An account's versions are 1, 2, 3 and on",
        "version <> version_before + 1",
        "format('version %s comes after %s', version, version_before)",
    ),
    Rule(
        "wrong_stream",
        "An entry lies in the stream of the account that it names",
        "stream_id IS DISTINCT FROM 'account-' || account_id",
        "stream_id",
    ),
    Rule(
        "not_opened",
        "An account begins by being opened, and is opened once",
        "(version = 1) <> (type = 'AccountOpened')",
        "format('%s at version %s', type, version)",
    ),
    Rule(
        "unknown_entry",
        "An account has entries of the known kinds alone",
        f"type NOT IN {_TYPES}",
        "type",
    ),
    Rule(
        "wrong_amount",
        "An entry's amount is more than nothing; a hold may be of nothing",
        "CASE WHEN type IN ('AccountOpened', 'HoldEntered', 'ReleaseEntered') THEN units < 0"
        " ELSE units <= 0 OR back < 0 END",
        "units",
    ),
    Rule(
        "wrong_balance",
        "Granted, used and held after an entry are those before it and its own amount",
        "(granted, used, held) IS DISTINCT FROM (granted_due, used_due, held_due)",
        "format('granted %s, used %s, held %s; due are %s, %s, %s',"
        " granted, used, held, granted_due, used_due, held_due)",
    ),
    Rule(
        "overdraft",
        "No entry leaves less than nothing available, used or held",
        "granted - used - held < 0 OR used < 0 OR held < 0",
        "format('granted %s, used %s, held %s', granted, used, held)",
    ),
    NOT_IN_INBOX,
)


def entries_since(first_id: UUID) -> Look:
    """All entries; of the messages that caused them, those from `first_id` on are in the inbox,
    which forgets those from before."""
    return Look("entries", _CHAINED, _RULES, (first_id,))


GRANTS: Final = Look(
    "grants",
    """
    SELECT max(position) AS position, data->>'account_id' AS account_id, NULL AS task_id,
        (array_agg(event_id ORDER BY position DESC))[1] AS entry_id,
        data->>'grant_id' AS grant_id, count(*) AS times
    FROM rare_events WHERE type = 'GrantEntered'
    GROUP BY data->>'account_id', data->>'grant_id'""",
    (
        Rule(
            "granted_twice",
            "A grant is entered once",
            "times > 1",
            "format('%s: %s times', grant_id, times)",
        ),
    ),
)
# The platform's accounts from the transfers, the users' from their heads: two ways to one sum.
TOTALS: Final = Look(
    "totals",
    """
    SELECT NULL::bigint AS position, NULL AS account_id, NULL AS task_id, NULL AS entry_id,
        platform, users
    FROM (
        SELECT coalesce(sum(CASE WHEN credit_account LIKE 'platform:%' THEN amount_units
            ELSE -amount_units END), 0) AS platform
        FROM credits_read.credit_transactions WHERE kind NOT IN ('hold', 'release')
    ) AS of_platform, (
        SELECT coalesce(sum((state->>'granted_units')::bigint - (state->>'used_units')::bigint), 0)
            AS users
        FROM credits.streams WHERE stream_id LIKE 'account-%'
    ) AS of_users""",
    (
        Rule(
            "not_zero",
            "All accounts together, the platform's and the users', have nothing",
            "platform + users <> 0",
            "format('users %s, platform %s', users, platform)",
        ),
    ),
)
