"""The rules of heads: what the product decides by is what the events add up to."""

from typing import Final

from services.credits.adapters.verification.rules import Look, Rule

HEADS: Final = Look(
    "heads",
    """
    SELECT (
            SELECT max(position) FROM credits.events WHERE stream_id = stream.stream_id
        ) AS position, NULL AS account_id, NULL AS task_id, NULL AS entry_id,
        coalesce(head.stream_id, stream.stream_id) AS stream_id, head.version AS head_version,
        coalesce(stream.version, 0) AS version, coalesce(events, 0) AS events
    FROM (
        SELECT stream_id, max(version) AS version, count(*) AS events
        FROM credits.events GROUP BY stream_id
    ) AS stream
    FULL JOIN credits.streams AS head ON head.stream_id = stream.stream_id""",
    (
        Rule(
            "stream_gap",
            "The versions of a stream are 1, 2, 3 and on",
            "version <> events",
            "format('%s: %s events up to version %s', stream_id, events, version)",
        ),
        Rule(
            "head_version",
            "The head of a stream counts its events",
            "head_version IS DISTINCT FROM version",
            "format('%s: the head says %s, the events %s', stream_id, head_version, version)",
        ),
    ),
)
# What is left of each grant that ends: all that came into its lot, less all that went out.
_LOTS: Final = """
    SELECT account_id, jsonb_agg(
        jsonb_build_object('grant_id', grant_id, 'expires_at', expires_at, 'units', units)
        ORDER BY expires_at::timestamptz, grant_id COLLATE "C") AS lots
    FROM (
        SELECT account_id, grant_id, max(expires_at) AS expires_at, sum(units) AS units
        FROM (
            SELECT data->>'account_id' AS account_id, data->>'grant_id' AS grant_id,
                data->>'expires_at' AS expires_at,
                CASE type WHEN 'GrantEntered' THEN 1 ELSE -1 END
                    * (data->>'amount_units')::bigint AS units
            FROM rare_events
            WHERE type = 'GrantEntered' AND data->>'expires_at' IS NOT NULL
                OR type = 'ExpiryEntered'
            UNION ALL
            SELECT data->>'account_id', lot->>'grant_id', NULL,
                CASE WHEN type IN ('CommitEntered', 'ReleaseEntered') THEN 1 ELSE -1 END
                    * (lot->>'units')::bigint
            FROM credits.events, jsonb_array_elements(data->'lots') AS lot
            WHERE stream_id LIKE 'account-%' AND jsonb_array_length(data->'lots') > 0
        ) AS moved
        GROUP BY account_id, grant_id HAVING sum(units) <> 0
    ) AS lot
    GROUP BY account_id"""
_OPEN: Final = """
    SELECT state->>'account_id' AS account_id, sum((state->>'amount_units')::bigint) AS units
    FROM credits.streams WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held'
    GROUP BY state->>'account_id'"""

ACCOUNTS: Final = Look(
    "accounts",
    f"""
    SELECT last.position, account_id, NULL AS task_id, last.event_id AS entry_id,
        state, coalesce(open.units, 0) AS open_units, (state->>'held_units')::bigint AS held,
        jsonb_build_object(
            'is_open', true,
            'granted_units', coalesce(last.data->'granted_after', '0'),
            'used_units', coalesce(last.data->'used_after', '0'),
            'held_units', coalesce(last.data->'held_after', '0'),
            'lots', coalesce(lot.lots, '[]')) AS due
    FROM (
        SELECT *, substr(stream_id, 9) AS account_id FROM credits.streams
        WHERE stream_id LIKE 'account-%'
    ) AS head
    LEFT JOIN credits.events AS last
        ON last.stream_id = head.stream_id AND last.version = head.version
    LEFT JOIN ({_LOTS}) AS lot USING (account_id)
    LEFT JOIN ({_OPEN}) AS open USING (account_id)""",
    (
        Rule(
            "account_head",
            "The head of an account is what its entries add up to, its lots included",
            "state IS DISTINCT FROM due",
            "format('it is %s, due is %s', state, due)",
        ),
        Rule(
            "held_elsewhere",
            "What an account holds is the sum of its open holds",
            "held IS DISTINCT FROM open_units",
            "format('the account holds %s, its holds %s', held, open_units)",
        ),
    ),
)
