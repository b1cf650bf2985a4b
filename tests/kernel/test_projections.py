"""Read models are disposable, and heads are proved against the events."""

import asyncio
from collections.abc import Iterable

import asyncpg
import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import insert

from kernel.event_store import EventStore
from kernel.projections import Outdated, ReadModel, ensure, rebuild, verify
from kernel.sql import Database, Statement
from kernel.testing import FakeClock
from kernel.unit import Recorded
from tests.kernel.totals import ADDING, SCHEMA, TOTAL, Add, Added, run_sql

TABLES = MetaData(schema="totals_read")
TOTALS = Table(
    "totals",
    TABLES,
    Column("stream_id", Text, primary_key=True),
    Column("amount", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Index("totals_by_amount", "amount"),
)
_new = insert(TOTALS)
_put = _new.on_conflict_do_update(
    index_elements=["stream_id"],
    set_={"amount": _new.excluded.amount, "version": _new.excluded.version},
)


def project(recorded: Recorded[Added]) -> Iterable[Statement]:
    amount = recorded.event.total_after
    row = {"stream_id": recorded.stream_id, "amount": amount, "version": recorded.version}
    return ((_put, row),)


MODEL = ReadModel(TABLES, project)


@pytest.fixture
async def store(database: Database) -> EventStore:
    """Three streams of four events."""
    async with database.connection() as connection:
        await ensure(connection, MODEL)
    store = EventStore(database, SCHEMA, [TOTAL], clock=FakeClock(), project=project)
    for amount in range(1, 5):
        for name in "abc":
            await store.handle(ADDING, f"total-{name}", Add(amount))
    return store


async def rows(store: EventStore) -> list[asyncpg.Record]:
    async with store.database.connection() as connection:
        return await connection.fetch("SELECT * FROM totals_read.totals ORDER BY stream_id")


async def faults(store: EventStore) -> list[str]:
    return await verify(store.database, SCHEMA, [TOTAL])


async def rebuilt(store: EventStore) -> int:
    return await rebuild(store.database, SCHEMA, MODEL, [TOTAL])


async def test_what_committed_can_be_read_at_once(store: EventStore) -> None:
    expected = [(f"total-{name}", 10, 4) for name in "abc"]
    assert [tuple(row) for row in await rows(store)] == expected


async def test_a_rebuild_gives_the_same_rows(store: EventStore) -> None:
    before = await rows(store)
    assert await rebuilt(store) == 12
    assert await rows(store) == before


async def test_a_rebuild_mends_what_somebody_has_changed(store: EventStore) -> None:
    before = await rows(store)
    await run_sql(store.database, "UPDATE totals_read.totals SET amount = 0")
    await rebuilt(store)
    assert await rows(store) == before


async def test_a_read_model_that_was_dropped_is_made_anew(store: EventStore) -> None:
    before = await rows(store)
    await run_sql(store.database, "DROP SCHEMA totals_read CASCADE")
    await rebuilt(store)
    assert await rows(store) == before


async def test_a_rebuild_makes_the_indexes_and_leaves_nothing_beside(store: EventStore) -> None:
    await rebuilt(store)
    await rebuilt(store)
    async with store.database.connection() as connection:
        schemas = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'totals_read%'"
        )
        index = await connection.fetchval("SELECT to_regclass('totals_read.totals_by_amount')")
    assert [row["nspname"] for row in schemas] == ["totals_read"]
    assert index is not None


async def test_a_rebuild_loses_nothing_of_what_is_written_meanwhile(store: EventStore) -> None:
    writes = [store.handle(ADDING, f"total-{name}", Add(1)) for name in "abc" * 4]
    await asyncio.gather(*writes[:6], rebuilt(store), *writes[6:])
    assert [tuple(row) for row in await rows(store)] == [(f"total-{name}", 14, 8) for name in "abc"]
    assert await faults(store) == []


async def test_read_models_of_starts_at_once_are_made_once(database: Database) -> None:
    connected = asyncio.Barrier(8)

    async def start() -> None:
        async with database.connection() as connection:
            await connected.wait()
            await ensure(connection, MODEL)

    await asyncio.gather(*(start() for _ in range(connected.parties)))


async def test_refuses_tables_of_an_older_version_and_says_what_makes_them_anew(
    store: EventStore,
) -> None:
    async with store.database.connection() as connection:
        await connection.execute("ALTER TABLE totals_read.totals DROP COLUMN version")
        with pytest.raises(Outdated, match=r"totals\.version.*python -m services rebuild totals"):
            await ensure(connection, MODEL)
    await rebuilt(store)
    async with store.database.connection() as connection:
        await ensure(connection, MODEL)


async def test_finds_no_fault_in_a_sound_history(store: EventStore) -> None:
    assert await faults(store) == []


HEAD = f"{SCHEMA}.streams"


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (
            f"UPDATE {HEAD} SET state = '{{\"amount\": 11}}' WHERE stream_id = 'total-b'",
            "total-b: head is not the fold of its events",
        ),
        (
            f"UPDATE {HEAD} SET version = 9 WHERE stream_id = 'total-b'",
            "total-b: head says version 9, events say 4",
        ),
        (
            f"DELETE FROM {HEAD} WHERE stream_id = 'total-b'",
            "total-b: events without a head",
        ),
        (
            f"INSERT INTO {HEAD} VALUES ('total-x', 1, '{{\"amount\": 1}}')",
            "total-x: a head without events",
        ),
        (
            f"INSERT INTO {HEAD} VALUES ('nobody knows', 1, '{{}}')",
            "nobody knows: a head without events",
        ),
    ],
)
async def test_finds_each_fault_and_names_its_stream(
    store: EventStore, harm: str, found: str
) -> None:
    await run_sql(store.database, harm)
    assert await faults(store) == [found]


async def test_finds_a_gap_in_a_stream(store: EventStore) -> None:
    await run_sql(
        store.database,
        f"ALTER TABLE {SCHEMA}.events DISABLE TRIGGER ALL;"
        f" DELETE FROM {SCHEMA}.events WHERE stream_id = 'total-b' AND version = 2",
    )
    assert await faults(store) == ["total-b: version 3 after 1"]
