"""python -m bench.append: commands through the kernel, beside the same SQL and `eventsourcing`.

A command reads a head, decides, and commits one event, the moved head and an outbox row; there is
no read model, and nobody publishes.
"""

import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from bench.load import as_fast_as_possible
from bench.peer import figures_of
from bench.repetitions import SEED, Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import facts, fresh_database
from bench.subject import ONE, SCHEMA, add_to, add_to_each, announce, silent
from kernel.clock import SystemClock, new_id
from kernel.event_store import OUTBOX_LEASE, Announce, EventStore
from kernel.sql import Database
from kernel.unit import Unit
from tests.kernel.totals import ADDING, TOTAL

CONNECTIONS: Final = 32
FOR_S: Final = 3.0
STREAMS_EACH: Final = 100
"""Of each connection alone, so that no two commands meet."""
TOGETHER: Final = 100
"""Events of one commit."""
TOGETHER_CONNECTIONS: Final = 8
EXISTING: Final = tuple(
    tuple(f"total-{connection}-{nth}" for nth in range(STREAMS_EACH))
    for connection in range(CONNECTIONS)
)
READ_HEAD: Final = (
    f"SELECT stream_id, version, state FROM {SCHEMA}.streams"
    " WHERE stream_id = ANY($1::text[]) ORDER BY stream_id"
)
APPEND: Final = f"SELECT {SCHEMA}.append({', '.join(f'${n}' for n in range(1, 19))})"


async def measure() -> dict[str, Any]:
    result = await repeated(
        [
            Case("kernel_existing_streams", _kernel_existing),
            Case("bare_existing_streams", _bare_existing),
            Case("kernel_new_streams", _kernel_new),
            Case("bare_new_streams", _bare_new),
            Case("kernel_100_events_a_commit", lambda: _kernel_together(announce)),
            Case("kernel_100_silent_events_a_commit", lambda: _kernel_together(silent)),
            Case("eventsourcing", _eventsourcing),
        ]
    )
    return {"servers": await facts(), **result, "table": _table(result["cases"])}


def _table(cases: Medians) -> list[Row]:
    def rate(case: str) -> str:
        return f"{cases[case]['per_s']['median']:,.0f}/s"

    return [
        Row(
            "command through the kernel, existing streams",
            f"{ratio(cases, 'per_s', 'kernel_existing_streams', 'bare_existing_streams')}"
            " of the same SQL bare",
            f"{rate('kernel_existing_streams')} (bare {rate('bare_existing_streams')})",
            "0.7 of bare, 6,000/s",
        ),
        Row(
            "the same, new streams",
            f"{ratio(cases, 'per_s', 'kernel_new_streams', 'bare_new_streams')} of bare",
            f"{rate('kernel_new_streams')} (bare {rate('bare_new_streams')})",
            "0.7 of bare",
        ),
        Row(
            "the same, beside a command of `eventsourcing`",
            f"{ratio(cases, 'per_s', 'kernel_existing_streams', 'eventsourcing')}x",
            f"eventsourcing {rate('eventsourcing')}",
            "8x",
        ),
        Row(
            "100 events a commit",
            "-",
            f"{rate('kernel_100_silent_events_a_commit')}; "
            f"{rate('kernel_100_events_a_commit')} with an outbox row for each",
            "50,000/s",
        ),
    ]


@asynccontextmanager
async def _store(connections: int, announce: Announce = announce) -> AsyncIterator[EventStore]:
    async with fresh_database(SCHEMA) as dsn:
        database = await Database.connect(dsn, connections_max=connections)
        try:
            yield EventStore(database, SCHEMA, [TOTAL], clock=SystemClock(), announce=announce)
        finally:
            await database.close()


async def _kernel_existing() -> Figures:
    async with _store(CONNECTIONS) as store:
        for streams in EXISTING:
            await add_to_each(store, streams)
        dice = _dice()
        return await as_fast_as_possible(
            lambda nth: store.handle(ADDING, dice[nth].choice(EXISTING[nth]), ONE),
            at_once=CONNECTIONS,
            for_s=FOR_S,
        )


async def _kernel_new() -> Figures:
    async with _store(CONNECTIONS) as store:
        return await as_fast_as_possible(
            lambda _: store.handle(ADDING, f"total-{new_id()}", ONE),
            at_once=CONNECTIONS,
            for_s=FOR_S,
        )


async def _kernel_together(announce: Announce) -> Figures:
    """Events a second, not commits."""
    async with _store(TOGETHER_CONNECTIONS, announce) as store:

        async def commit(nth: int) -> None:
            async def work(unit: Unit) -> None:
                for _ in range(TOGETHER):
                    await add_to(unit, f"total-{nth}")

            await store.transact(work)

        commits = await as_fast_as_possible(commit, at_once=TOGETHER_CONNECTIONS, for_s=FOR_S)
        return {**commits, "per_s": commits["per_s"] * TOGETHER}


async def _bare_existing() -> Figures:
    async with fresh_database(SCHEMA) as dsn, _connections(dsn) as connections:
        for streams in EXISTING:
            for stream_id in streams:
                await _bare_command(connections[0], stream_id)
        dice = _dice()
        return await as_fast_as_possible(
            lambda nth: _bare_command(connections[nth], dice[nth].choice(EXISTING[nth])),
            at_once=CONNECTIONS,
            for_s=FOR_S,
        )


async def _bare_new() -> Figures:
    async with fresh_database(SCHEMA) as dsn, _connections(dsn) as connections:
        return await as_fast_as_possible(
            lambda nth: _bare_command(connections[nth], f"total-{new_id()}"),
            at_once=CONNECTIONS,
            for_s=FOR_S,
        )


async def _bare_command(connection: asyncpg.Connection, stream_id: str) -> None:
    """The two statements of the kernel, with JSON that is there already."""
    rows = await connection.fetch(READ_HEAD, [stream_id])
    version = rows[0]["version"] if rows else 0
    event_id = new_id()
    await connection.execute(
        APPEND,
        [stream_id],
        [version],
        [version + 1],
        [f'{{"amount":{version + 1}}}'],
        [event_id],
        [stream_id],
        [version + 1],
        ["Added"],
        [1],
        [f'{{"amount":1,"total_after":{version + 1}}}'],
        [_METADATA],
        SystemClock().now(),
        [event_id],
        [_ENVELOPE],
        event_id,
        OUTBOX_LEASE,
        None,
        [],
    )


_METADATA: Final = (
    '{"correlation_id":"self-019a2f3c5d6e7f80a1b2c3d4e5f60718","causation_id":null,'
    '"traceparent":null}'
)
_ENVELOPE: Final = (
    '{"id":"019a2f3c-5d6e-7f80-a1b2-c3d4e5f60718","type":"CreditsReserved","schemaversion":1,'
    '"source":"smartspec/credits","subject":"total-0-0","streamversion":1,'
    '"time":"2026-11-20T12:00:00.000000Z",'
    '"correlationid":"self-019a2f3c5d6e7f80a1b2c3d4e5f60718","causationid":null,'
    '"traceparent":null,"data":{"task_id":"019a2f3c-5d6e-7f80-a1b2-c3d4e5f60718",'
    '"account_id":"00000000-0000-0000-0000-000000000007","amount_units":1}}'
)


@asynccontextmanager
async def _connections(dsn: str) -> AsyncIterator[list[asyncpg.Connection]]:
    connections = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
    try:
        yield connections
    finally:
        for connection in connections:
            await connection.close()


async def _eventsourcing() -> Figures:
    async with fresh_database() as dsn:
        return await figures_of("eventsourcing_commands", dsn=dsn, for_s=FOR_S, seed=SEED)


def _dice() -> list[random.Random]:
    """One for each loop: what it draws does not depend on the others."""
    return [random.Random(SEED + nth) for nth in range(CONNECTIONS)]  # noqa: S311 - a fixed load


if __name__ == "__main__":
    sys.exit(run("append", measure))
