"""The rules of read models: what clients are shown is what the events say, row by row."""

from collections.abc import Sequence
from typing import Final

from services.credits.adapters.verification.rules import Look, Rule


def _alike(name: str, table: str, key: Sequence[str], columns: Sequence[str], events: str) -> Look:
    """`events` is a SELECT of `table`'s columns out of the events, with `position`."""
    join = " AND ".join(f"shown.{column} = said.{column}" for column in key)
    both = ", ".join(f"shown.{c} AS shown_{c}, said.{c} AS said_{c}" for c in columns)
    whose = ", ".join(
        f"coalesce(said.{column}, shown.{column}) AS {column}"
        if column in (*key, *columns)
        # Which of them a table has differs.
        else f"NULL AS {column}"
        for column in ("account_id", "task_id", "entry_id")
    )
    differs = " OR ".join(f"shown_{c} IS DISTINCT FROM said_{c}" for c in columns)
    which = "concat_ws(', ', {})".format(
        ", ".join(f"CASE WHEN shown_{c} IS DISTINCT FROM said_{c} THEN '{c}' END" for c in columns)
    )
    return Look(
        name,
        f"""
        SELECT said.position, {whose}, {both},
            shown.{key[0]} IS NOT NULL AS is_shown, said.{key[0]} IS NOT NULL AS is_said
        FROM ({events}) AS said FULL JOIN credits_read.{table} AS shown ON {join}""",
        (
            Rule(
                f"{table}_differs",
                f"Each row of {table} is what its events say",
                f"NOT is_shown OR NOT is_said OR {differs}",
                "CASE WHEN NOT is_shown THEN 'there is no row of it'"
                f" WHEN NOT is_said THEN 'no event says it' ELSE {which} END",
            ),
        ),
    )


_USER: Final = "data->>'account_id'"

TRANSACTIONS: Final = _alike(
    "transactions",
    "credit_transactions",
    ("entry_id",),
    (
        *("account_id", "account_version", "kind", "amount_units", "debit_account"),
        *("credit_account", "task_id", "reason", "expires_at"),
        *("granted_after", "used_after", "held_after", "created_at"),
    ),
    f"""
    SELECT position, event_id AS entry_id, (data->>'account_id')::uuid AS account_id,
        version AS account_version, (data->>'amount_units')::bigint AS amount_units,
        CASE type
            WHEN 'GrantEntered' THEN 'grant'
            WHEN 'HoldEntered' THEN 'hold'
            WHEN 'CommitEntered' THEN 'commit'
            WHEN 'ReleaseEntered' THEN 'release'
            WHEN 'RefundEntered' THEN 'refund'
            WHEN 'AdjustmentEntered' THEN 'adjust'
            WHEN 'ChargeEntered' THEN 'charge'
            WHEN 'ExpiryEntered' THEN 'expire'
        END AS kind,
        CASE WHEN type = 'GrantEntered' THEN 'platform:grants'
            WHEN type IN ('ReleaseEntered', 'RefundEntered') THEN 'platform:revenue'
            WHEN type = 'AdjustmentEntered' AND data->>'taken' = 'false'
                THEN 'platform:grants'
            ELSE {_USER} END AS debit_account,
        CASE WHEN type IN ('GrantEntered', 'ReleaseEntered', 'RefundEntered') THEN {_USER}
            WHEN type = 'AdjustmentEntered' AND data->>'taken' = 'false' THEN {_USER}
            WHEN type IN ('AdjustmentEntered', 'ExpiryEntered') THEN 'platform:grants'
            ELSE 'platform:revenue' END AS credit_account,
        (data->>'task_id')::uuid AS task_id, data->>'reason' AS reason,
        (data->>'expires_at')::timestamptz AS expires_at,
        (data->>'granted_after')::bigint AS granted_after,
        (data->>'used_after')::bigint AS used_after,
        (data->>'held_after')::bigint AS held_after, recorded_at AS created_at
    FROM credits.events WHERE stream_id LIKE 'account-%' AND type <> 'AccountOpened'""",
)
BALANCES: Final = _alike(
    "balances",
    "credits_balances",
    ("account_id",),
    ("granted_units", "used_units", "held_units", "version", "updated_at"),
    """
    SELECT last.position, substr(head.stream_id, 9)::uuid AS account_id,
        coalesce((last.data->>'granted_after')::bigint, 0) AS granted_units,
        coalesce((last.data->>'used_after')::bigint, 0) AS used_units,
        coalesce((last.data->>'held_after')::bigint, 0) AS held_units,
        last.version, last.recorded_at AS updated_at
    FROM credits.streams AS head
    LEFT JOIN credits.events AS last
        ON last.stream_id = head.stream_id AND last.version = head.version
    WHERE head.stream_id LIKE 'account-%'""",
)
# `rare_events` are what all of these scan together.
RARE: Final = (
    _alike(
        "accounts_shown",
        "accounts",
        ("account_id",),
        ("user_id", "opened_with_plan", "opened_at"),
        """
        SELECT position, (data->>'account_id')::uuid AS account_id,
            (data->>'user_id')::uuid AS user_id, data->>'plan' AS opened_with_plan,
            recorded_at AS opened_at
        FROM rare_events WHERE type = 'AccountOpened'""",
    ),
    _alike(
        "usage",
        "usage_records",
        ("task_id",),
        (
            *("account_id", "user_id", "key_id", "task_type", "model_id", "outcome"),
            *("charged_units", "refunded_units", "used_at"),
        ),
        """
        SELECT position, (data->>'task_id')::uuid AS task_id,
            (data->>'account_id')::uuid AS account_id,
            (data->'purpose'->>'user_id')::uuid AS user_id,
            (data->'purpose'->>'key_id')::uuid AS key_id,
            data->'purpose'->>'task_type' AS task_type,
            data->'purpose'->>'model_id' AS model_id,
            coalesce(data->>'outcome', '') AS outcome,
            (data->>'amount_units')::bigint AS charged_units,
            coalesce(refunded.units, 0) AS refunded_units, recorded_at AS used_at
        FROM credits.events
        LEFT JOIN (
            SELECT stream_id, sum((data->>'amount_units')::bigint)::bigint AS units
            FROM rare_events WHERE type = 'HoldRefunded' GROUP BY stream_id
        ) AS refunded USING (stream_id)
        WHERE type = 'HoldCommitted'""",
    ),
    _alike(
        "losses",
        "losses",
        ("entry_id",),
        ("task_id", "account_id", "output_index", "amount_units", "reason", "created_at"),
        """
        SELECT position, event_id AS entry_id, (data->>'task_id')::uuid AS task_id,
            (data->>'account_id')::uuid AS account_id, (data->>'index')::integer AS output_index,
            (data->>'amount_units')::bigint AS amount_units, data->>'reason' AS reason,
            recorded_at AS created_at
        FROM rare_events WHERE type = 'LossEntered'""",
    ),
    _alike(
        "plans",
        "subscription_plans",
        ("plan_id", "version"),
        ("name", "monthly_units", "roll_over", "offered", "defined_at", "defined_by"),
        """
        SELECT position, data->>'plan_id' AS plan_id, version, data->'terms'->>'name' AS name,
            (data->'terms'->>'monthly_units')::bigint AS monthly_units,
            (data->'terms'->>'roll_over')::boolean AS roll_over,
            (data->'terms'->>'offered')::boolean AS offered,
            (data->>'at')::timestamptz AS defined_at, (data->>'by')::uuid AS defined_by
        FROM rare_events WHERE type = 'PlanDefined'""",
    ),
    _alike(
        "subscriptions",
        "subscriptions",
        ("account_id",),
        ("plan_id", "since", "period_ends_at"),
        """
        SELECT DISTINCT ON (stream_id) position, (data->>'account_id')::uuid AS account_id,
            data->>'plan_id' AS plan_id, (data->>'since')::timestamptz AS since,
            (data->>'ends_at')::timestamptz AS period_ends_at
        FROM rare_events WHERE type = 'PeriodBegun' ORDER BY stream_id, version DESC""",
    ),
)
