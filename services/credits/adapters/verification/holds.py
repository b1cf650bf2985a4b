"""The rules of holds: placed once, ended once, and each step with its entry in the account."""

from typing import Final

from services.credits.adapters.verification.rules import Look, Rule

_KINDS: Final = {
    "HoldEntered": "hold_entry",
    "CommitEntered": "commit_entry",
    "ReleaseEntered": "release_entry",
    "RefundEntered": "refund_entry",
    "HoldPlaced": "placed",
    "HoldCommitted": "committed",
    "HoldReleased": "released",
    "HoldRefunded": "refunded",
    "HoldRefused": "refused",
    "HoldBarred": "barred",
    "LossEntered": "lost",
}
_MANY: Final = frozenset({"RefundEntered", "HoldRefunded", "LossEntered"})
# Numbers are compared much faster than texts, and each row is, with all of them.
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
# What comes once at most is taken by its greatest: a second one is a fault by its count, and `sum`
# makes a decimal of each, which costs more than all else here.
_SUMS: Final = ", ".join(
    f"count(*) FILTER (WHERE kind = {_NUMBERS[kind]}) AS {name}, coalesce("
    f"{'sum' if kind in _MANY else 'max'}(units) FILTER (WHERE kind = {_NUMBERS[kind]}), 0)::bigint"
    f" AS {name}_units"
    for kind, name in _KINDS.items()
)
_NUMBER: Final = " ".join(f"WHEN '{kind}' THEN {number}" for kind, number in _NUMBERS.items())
_TYPES: Final = ", ".join(f"'{kind}'" for kind in _KINDS)
# `OFFSET 0` has the server take the figures out of the JSON before it sorts. Losses and refusals of
# a task are in its hold's stream alone, the rest has an entry beside it.
_TASKS: Final = f"""
    SELECT max(position) AS position, task_id,
        min(account_id) AS account_id, max(account_id) AS other_account_id,
        NULL::uuid AS entry_id, {_SUMS},
        coalesce(max(back) FILTER (WHERE kind = {_NUMBERS["HoldCommitted"]}), 0) AS back_units,
        coalesce(max(back) FILTER (WHERE kind = {_NUMBERS["CommitEntered"]}), 0)
            AS back_entry_units,
        coalesce(max(refunded_after), 0) AS refunded_after,
        coalesce(min(version) FILTER (WHERE kind = {_NUMBERS["HoldPlaced"]}), 1) AS placed_at,
        bool_and(is_in_place) AS is_in_place
    FROM (
        SELECT position, version, CASE type {_NUMBER} END AS kind,
            data->>'task_id' COLLATE "C" AS task_id,
            data->>'account_id' COLLATE "C" AS account_id,
            coalesce((data->>'amount_units')::bigint, (data->>'required_units')::bigint, 0)
                AS units,
            (data->>'released_units')::bigint AS back,
            (data->>'refunded_after')::bigint AS refunded_after,
            stream_id LIKE 'account-%' OR stream_id = 'hold-' || (data->>'task_id') AS is_in_place
        FROM credits.events WHERE type IN ({_TYPES}) OFFSET 0
    ) AS step
    GROUP BY task_id"""
_WITH_HEADS: Final = f"""
    SELECT task.*, head.state,
        CASE WHEN committed > 0 THEN 'committed' WHEN released > 0 THEN 'released'
            WHEN placed > 0 THEN 'held' WHEN refused > 0 THEN 'refused'
            WHEN barred > 0 THEN 'barred' ELSE 'none' END AS status
    FROM ({_TASKS}) AS task
    LEFT JOIN credits.streams AS head ON head.stream_id = 'hold-' || task_id"""

TASKS: Final = Look(
    "tasks",
    _WITH_HEADS,
    (
        Rule(
            "placed_twice",
            "A hold is placed once, and not after it was refused",
            "placed + refused > 1 OR placed > 0 AND (barred > 0 OR placed_at <> 1)",
            "format('placed %s, refused %s, barred %s times', placed, refused, barred)",
        ),
        Rule(
            "ended_twice",
            "A hold ends at most once",
            "committed + released > 1",
            "format('committed %s and released %s times', committed, released)",
        ),
        Rule(
            "ended_unplaced",
            "A hold that ends was placed",
            "committed + released > 0 AND placed = 0",
        ),
        Rule(
            "entry_twice",
            "A task has at most one entry of a kind, and one that ends its hold",
            "hold_entry > 1 OR commit_entry + release_entry > 1",
            "format('%s holds, %s commits, %s releases', hold_entry, commit_entry, release_entry)",
        ),
        Rule(
            "exceeds_hold",
            "What is committed is at most what was held, and the rest is released",
            "committed = 1 AND placed = 1 AND (committed_units > placed_units"
            " OR committed_units + back_units <> placed_units OR back_units < 0)"
            " OR released = 1 AND placed = 1 AND released_units <> placed_units",
            "format('held %s, committed %s, released %s', placed_units, committed_units,"
            " back_units + released_units)",
        ),
        Rule(
            "exceeds_charge",
            "What is refunded is at most what was committed",
            "refunded_units > committed_units OR refunded_after <> refunded_units",
            "format('committed %s, refunded %s', committed_units, refunded_units)",
        ),
        Rule(
            "entry_missing",
            "Each step of a hold has its entry in the account, of the same amount, and each such"
            " entry its step",
            "(hold_entry, hold_entry_units, commit_entry, commit_entry_units, back_entry_units,"
            " release_entry, release_entry_units, refund_entry, refund_entry_units)"
            " IS DISTINCT FROM (placed, placed_units, committed, committed_units, back_units,"
            " released, released_units, refunded, refunded_units)",
            "format('held %s by entry and %s by hold, committed %s and %s, released %s and %s,"
            " refunded %s and %s', hold_entry_units, placed_units, commit_entry_units,"
            " committed_units, back_entry_units + release_entry_units,"
            " back_units + released_units, refund_entry_units, refunded_units)",
        ),
        Rule(
            "other_account",
            "One account alone pays for a task",
            "account_id IS DISTINCT FROM other_account_id",
            "format('%s and %s', account_id, other_account_id)",
        ),
        Rule(
            "wrong_hold_stream",
            "A step of a hold lies in the stream of the task that it names",
            "NOT is_in_place",
        ),
        Rule(
            "hold_head",
            "The head of a hold is the fold of its events",
            "state IS NULL OR (state->>'status', (state->>'amount_units')::bigint,"
            " (state->>'committed_units')::bigint, (state->>'refunded_units')::bigint,"
            " state->>'account_id', jsonb_array_length(state->'lost')) IS DISTINCT FROM"
            " (status, placed_units + refused_units, committed_units, refunded_units,"
            " CASE WHEN status <> 'none' THEN account_id END, lost::integer)",
            "format('it is %s', state)",
        ),
    ),
)
# Beside the figures: whose lots and budget an open hold has, and what its task was for.
HOLD_HEADS: Final = Look(
    "hold_heads",
    """
    SELECT placed.position, head.state->>'account_id' AS account_id,
        substr(head.stream_id, 6) AS task_id, NULL AS entry_id, head.state,
        coalesce(placed.key_id, 'null') AS key_id, coalesce(placed.purpose, 'null') AS purpose,
        CASE WHEN head.state->>'status' = 'held' THEN coalesce(placed.lots, '[]')
            ELSE '[]' END AS lots
    FROM credits.streams AS head
    LEFT JOIN (
        SELECT position, stream_id, data->'key_id' AS key_id, data->'purpose' AS purpose,
            data->'lots' AS lots
        FROM credits.events WHERE version = 1 AND type = 'HoldPlaced' OFFSET 0
    ) AS placed ON placed.stream_id = head.stream_id
    WHERE head.stream_id LIKE 'hold-%'""",
    (
        Rule(
            "hold_head_differs",
            "The head of a hold has the lots, the key and the purpose that it was placed with",
            "state->'key_id' IS DISTINCT FROM key_id OR state->'purpose' IS DISTINCT FROM purpose"
            " OR state->'lots' IS DISTINCT FROM lots",
            "format('it is %s', state)",
        ),
    ),
)
LOSSES_OF_HEADS: Final = Look(
    "lost",
    """
    SELECT loss.position, head.state->>'account_id' AS account_id,
        substr(head.stream_id, 6) AS task_id, NULL AS entry_id, head.state->'lost' AS lost, due
    FROM (
        SELECT stream_id, max(position) AS position,
            jsonb_agg(data->'index' ORDER BY version) AS due
        FROM rare_events WHERE type = 'LossEntered' GROUP BY stream_id
    ) AS loss
    LEFT JOIN credits.streams AS head ON head.stream_id = loss.stream_id""",
    (
        Rule(
            "lost_differs",
            "The head of a hold knows each output that came too late",
            "lost IS DISTINCT FROM due",
            "format('it has %s, there are %s', lost, due)",
        ),
    ),
)
BUDGETS: Final = Look(
    "budgets",
    """
    SELECT last.position, NULL AS account_id, NULL AS task_id, last.event_id AS entry_id,
        substr(head.stream_id, 8) AS key_id, (head.state->>'held_units')::bigint AS held,
        (last.data->>'held_after')::bigint AS held_after, coalesce(open.units, 0) AS open_units
    FROM credits.streams AS head
    LEFT JOIN credits.events AS last
        ON last.stream_id = head.stream_id AND last.version = head.version
    LEFT JOIN (
        SELECT state->>'key_id' AS key_id, sum((state->>'amount_units')::bigint) AS units
        FROM credits.streams WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held'
        GROUP BY state->>'key_id'
    ) AS open ON open.key_id = substr(head.stream_id, 8)
    WHERE head.stream_id LIKE 'budget-%'""",
    (
        Rule(
            "budget_held",
            "A key's budget holds what the open holds of the key hold",
            "held IS DISTINCT FROM open_units OR held IS DISTINCT FROM held_after",
            "format('key %s: the budget holds %s, its holds %s', key_id, held, open_units)",
        ),
    ),
)
