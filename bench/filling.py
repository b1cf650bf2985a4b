"""A ledger of a million entries, for `bench.ledger_size`: what credits would have written in twenty
days, written by SQL in a minute, so that every rule of `ledger verify` holds of it.

Accounts and their plan are opened by the service's own decisions. What a million messages would
have done after that is computed over sets: a hold each step, and its end a hundred steps later.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from bench.feeding import account
from kernel.clock import SystemClock
from kernel.event_store import EventStore
from kernel.objects import LocalObjectStore
from kernel.sql import Connection, Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from services.credits.adapters.seals import Seals, chain
from services.credits.domain import (
    ACCOUNT,
    PLAN,
    PLANS,
    SUBSCRIPTION,
    DefinePlan,
    OpenAccount,
    PlanTerms,
    open_account,
)

HOLDS: Final = 500_000
"""Each has an entry, and all but the last few a second one for its end."""
ACCOUNTS: Final = 1_001
BIG: Final = account(0)
"""Every fourth hold is its."""
SINCE: Final = SystemClock().now() - timedelta(days=20)
"""Inside the month of the first grant, and of what the inbox remembers."""
STEP: Final = timedelta(days=20) / (2 * HOLDS + 1_000)
ENDS_AFTER: Final = 101
"""Steps: odd, because each even one is a hold."""
PLAN_ID: Final = "bench"
TERMS: Final = PlanTerms("Bench", 10**13)
TIMEOUT_S: Final = 600.0
LOOK_EVERY_S: Final = 0.05


async def open_accounts(store: EventStore, clock: FakeClock) -> None:
    """Each with a grant that ends, so that every hold takes from a lot, as of the free plan."""
    await store.handle(PLANS, PLAN.stream_id(PLAN_ID), DefinePlan(PLAN_ID, TERMS, clock.now()))

    async def work(unit: Unit) -> None:
        for nth in range(ACCOUNTS):
            account_id = account(nth)
            command = OpenAccount(account_id, _user_of(account_id), PLAN_ID, unit.now)
            await unit.decide_on(
                (
                    (SUBSCRIPTION, SUBSCRIPTION.stream_id(account_id)),
                    (ACCOUNT, ACCOUNT.stream_id(account_id)),
                    (PLAN, PLAN.stream_id(PLAN_ID)),
                ),
                lambda _, account, plan, command=command: open_account(command, account, plan),
            )

    await store.transact(work)


async def fill(database: Database) -> None:
    """Events, heads and inbox rows of all steps, in the order in which they would have come."""
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL work_mem = '256MB'")
        await _run(connection, _STEPS, HOLDS, ENDS_AFTER, ACCOUNTS - 1, SINCE, STEP)
        for statement in (_BARE, _EVENTS, _KEYED, _ACCOUNT_HEADS, _HOLD_HEADS, _INBOX):
            await _run(connection, statement)
    async with database.connection() as connection:
        # As autovacuum leaves tables that grew over weeks.
        for table in ("events", "streams", "inbox"):
            await _run(connection, f"VACUUM ANALYZE credits.{table}")


async def seal(database: Database, objects: LocalObjectStore) -> None:
    """All that is there, as soon as no transaction of the server is older than the fill."""
    seals = Seals(database, SystemClock(), objects)
    while (await chain(database))[2]:
        if not await seals.seal_settled():
            await asyncio.sleep(LOOK_EVERY_S)
    await seals.publish()
    async with database.connection() as connection:
        await _run(connection, "VACUUM ANALYZE credits.seals")


def _user_of(account_id: UUID) -> UUID:
    return account_id


async def _run(connection: Connection, statement: str, *values: Any) -> None:
    await connection.execute(statement, *values, timeout=TIMEOUT_S)


def _uuid7(kind: str, nth: str) -> str:
    """SQL of an id that was made at `at`: of a step's `nth`, one for each kind."""
    ms = "lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')"
    return f"({ms} || '70008' || substr(md5('{kind}' || {nth}), 1, 15))::uuid"


# An index is made of all rows at once much faster than row by row.
_BARE: Final = """
    ALTER TABLE credits.events DROP CONSTRAINT events_event_id_key,
        DROP CONSTRAINT events_stream_id_version_key"""
_KEYED: Final = """
    ALTER TABLE credits.events ADD CONSTRAINT events_event_id_key UNIQUE (event_id),
        ADD CONSTRAINT events_stream_id_version_key UNIQUE (stream_id, version)"""
# A tenth is released, a fifth is charged in part.
_STEPS: Final = f"""
    CREATE TEMPORARY TABLE step ON COMMIT DROP AS
    WITH hold AS (
        SELECT hold_no, 2 * hold_no + $2 AS ends_at,
            CASE WHEN hold_no % 4 = 0 THEN 0
                ELSE 1 + (hold_no * 7919) % $3 END AS account_no,
            10000 + 1000 * (hold_no % 9) AS units,
            CASE hold_no % 10 WHEN 9 THEN 0 WHEN 8 THEN 5000 WHEN 7 THEN 7000
                ELSE 10000 + 1000 * (hold_no % 9) END AS charged
        FROM generate_series(0, $1::bigint - 1) AS hold_no
    ), moved AS (
        SELECT *, 2 * hold_no AS nth, 'hold' AS kind, units AS moved, units AS from_lot,
            0 AS used_by, units AS held_by
        FROM hold
        UNION ALL
        SELECT *, ends_at, CASE charged WHEN 0 THEN 'release' ELSE 'commit' END,
            CASE charged WHEN 0 THEN units ELSE charged END, units - charged, charged, -units
        FROM hold WHERE ends_at < 2 * $1::bigint
    ), dated AS (
        SELECT *, $4::timestamptz + (nth + 500) * $5::interval AS at,
            $4::timestamptz + (2 * hold_no + 500) * $5::interval AS held_at,
            ends_at >= 2 * $1::bigint AS is_open
        FROM moved
    ), opened AS (
        SELECT row_number() OVER (ORDER BY stream_id) - 1 AS account_no, stream_id, version,
            substr(stream_id, 9) AS account_id, (state->>'granted_units')::bigint AS granted,
            state->'lots'->0 AS lot
        FROM credits.streams WHERE stream_id LIKE 'account-%'
    )
    SELECT nth, kind, units, charged, moved, at, is_open, stream_id, account_id, lot, granted,
        {_uuid7("task", "hold_no").replace("FROM at", "FROM held_at")} AS task_id,
        {_uuid7("message", "nth")} AS message_id,
        CASE WHEN from_lot > 0 THEN jsonb_build_array(lot || jsonb_build_object('units', from_lot))
            ELSE '[]' END AS lots,
        jsonb_build_object('user_id', account_id, 'key_id', NULL, 'task_type', 'image',
            'model_id', 'nano-banana-pro') AS purpose,
        CASE WHEN kind = 'release' THEN 'provider_failed' ELSE 'completed' END AS outcome,
        version + row_number() OVER of_account AS version,
        (sum(used_by) OVER of_account)::bigint AS used_after,
        (sum(held_by) OVER of_account)::bigint AS held_after
    FROM dated JOIN opened USING (account_no)
    WINDOW of_account AS (PARTITION BY account_no ORDER BY nth)"""
_EVENTS: Final = f"""
    INSERT INTO credits.events
        (event_id, stream_id, version, type, schema_version, data, metadata, recorded_at)
    SELECT made.*, jsonb_build_object(
            'correlation_id', 'req_' || md5('request' || task_id),
            'causation_id', message_id,
            'traceparent', '00-' || md5('trace' || task_id) || '-' || substr(md5('span' || nth), 17)
                || '-00'),
        at
    FROM (SELECT * FROM step ORDER BY nth) AS step, LATERAL (
        SELECT {_uuid7("entry", "nth")}, stream_id, version::integer,
            CASE kind WHEN 'hold' THEN 'HoldEntered' WHEN 'commit' THEN 'CommitEntered'
                ELSE 'ReleaseEntered' END, 1,
            jsonb_build_object('account_id', account_id, 'amount_units', moved, 'granted_after',
                granted, 'used_after', used_after, 'held_after', held_after, 'task_id', task_id,
                'lots', lots)
            || CASE kind WHEN 'hold' THEN '{{"low_below_units": null}}'
                WHEN 'commit' THEN jsonb_build_object('released_units', units - charged)
                ELSE '{{}}' END
        UNION ALL
        SELECT {_uuid7("step", "nth")}, 'hold-' || task_id, CASE kind WHEN 'hold' THEN 1 ELSE 2 END,
            CASE kind WHEN 'hold' THEN 'HoldPlaced' WHEN 'commit' THEN 'HoldCommitted'
                ELSE 'HoldReleased' END, 1,
            jsonb_build_object('task_id', task_id, 'account_id', account_id, 'amount_units', moved)
            || CASE kind
                WHEN 'hold' THEN jsonb_build_object('key_id', NULL, 'lots', lots,
                    'purpose', purpose)
                WHEN 'commit' THEN jsonb_build_object('released_units', units - charged,
                    'outcome', outcome, 'purpose', purpose)
                ELSE jsonb_build_object('outcome', outcome) END
    ) AS made"""
_ACCOUNT_HEADS: Final = """
    UPDATE credits.streams AS head SET version = last.version, state = head.state ||
        jsonb_build_object('used_units', used_after, 'held_units', held_after, 'lots',
            jsonb_build_array(lot || jsonb_build_object('units',
                granted - used_after - held_after)))
    FROM (SELECT DISTINCT ON (stream_id) * FROM step ORDER BY stream_id, nth DESC) AS last
    WHERE head.stream_id = last.stream_id"""
_HOLD_HEADS: Final = """
    INSERT INTO credits.streams (stream_id, version, state)
    SELECT 'hold-' || task_id, CASE WHEN is_open THEN 1 ELSE 2 END, jsonb_build_object(
        'status', CASE WHEN is_open THEN 'held' WHEN charged = 0 THEN 'released'
            ELSE 'committed' END,
        'account_id', account_id, 'amount_units', units,
        'committed_units', CASE WHEN is_open THEN 0 ELSE charged END, 'key_id', NULL,
        'lots', CASE WHEN is_open THEN lots ELSE '[]' END, 'purpose', purpose,
        'refunded_units', 0, 'lost', '[]'::jsonb)
    FROM step WHERE kind = 'hold' ORDER BY nth"""
_INBOX: Final = """
    INSERT INTO credits.inbox (consumer, message_id, state, updated_at)
    SELECT 'credits', message_id, 'done', at FROM step ORDER BY nth"""
