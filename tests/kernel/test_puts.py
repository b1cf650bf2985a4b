"""Rows put with their events over each PostgreSQL found: one statement, the last wins, in order."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, Uuid, select
from sqlalchemy.dialects.postgresql import JSONB

from kernel.clock import new_id
from kernel.errors import Unavailable
from kernel.event_store import AlreadyHandled, EventStore, Heard
from kernel.inbox import ensure_partitions
from kernel.projections import ReadModel, ensure, rebuild
from kernel.puts import Projected, Put
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Recorded, Unit
from tests.kernel.totals import ADDING, SCHEMA, TOTAL, Add, Added, announce, count, run_sql

TABLES = MetaData(schema="totals_read")
SUMS = Table(
    "sums",
    TABLES,
    Column("stream_id", Text, primary_key=True),
    Column("amount", Integer, nullable=False),
    Column("note", Text),
)
STEPS = Table(
    "steps",
    TABLES,
    Column("event_id", Uuid, primary_key=True),
    Column("order", Integer, nullable=False, unique=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("more", JSONB, nullable=False),
)
Project = Callable[[Recorded[Added]], Iterable[Projected]]


def project(recorded: Recorded[Added]) -> Iterable[Projected]:
    yield _sum(recorded)
    yield Put(
        STEPS,
        {
            "event_id": recorded.event_id,
            "order": recorded.event.total_after,
            "at": recorded.at,
            "more": {"amount": recorded.event.amount, "text": 'a "quoted" \\ text'},
        },
    )


def _sum(recorded: Recorded[Added]) -> Put:
    row = {"stream_id": recorded.stream_id, "amount": recorded.event.total_after}
    return Put(SUMS, row)


def _clears_every_third(recorded: Recorded[Added]) -> Iterable[Projected]:
    if recorded.version % 3 == 0:
        yield SUMS.delete(), {}
    else:
        yield _sum(recorded)


@pytest.fixture
async def database_with_tables(database: Database) -> Database:
    async with database.connection() as connection:
        await ensure(connection, ReadModel(TABLES, project))
        await ensure_partitions(connection, SCHEMA, FakeClock().now())
    return database


def _store(database: Database, projecting: Project = project) -> EventStore:
    return EventStore(
        database, SCHEMA, [TOTAL], clock=FakeClock(), announce=announce, project=projecting
    )


@pytest.fixture
def store(database_with_tables: Database) -> EventStore:
    return _store(database_with_tables)


async def _add(store: EventStore, *amounts: int, stream_id: str = "total-1") -> None:
    """All in one commit."""

    async def work(unit: Unit) -> None:
        for amount in amounts:
            await unit.decide(ADDING, stream_id, Add(amount))

    await store.transact(work)


async def _sums(store: EventStore) -> dict[str, int]:
    rows = await store.database.fetch(select(SUMS.c.stream_id, SUMS.c.amount))
    return {row["stream_id"]: row["amount"] for row in rows}


async def _orders(store: EventStore) -> list[int]:
    rows = await store.database.fetch(select(STEPS.c.order).order_by(STEPS.c.order))
    return [row["order"] for row in rows]


async def test_events_outbox_and_rows_of_several_tables_are_one_statement(
    database_with_tables: Database, database_dsn: str
) -> None:
    alone = await Database.connect(database_dsn, connections_max=1)
    store = _store(alone)
    await _add(store, 4)  # a new connection asks for the types of arrays
    asked: list[str] = []

    async def work(unit: Unit) -> None:
        await unit.decide(ADDING, "total-1", Add(1))
        await unit.decide(ADDING, "total-1", Add(2))
        unit.connection.add_query_logger(lambda query: asked.append(query.query))

    await store.transact(work)
    await alone.close()
    assert len(asked) == 1
    assert await count(database_with_tables, "events") == 3
    assert await count(database_with_tables, "outbox") == 3
    assert await _orders(_store(database_with_tables)) == [4, 5, 7]


async def test_of_several_rows_with_one_key_the_last_wins(store: EventStore) -> None:
    await _add(store, 1, 2, 3)
    assert await _sums(store) == {"total-1": 6}


async def test_a_row_replaces_what_an_earlier_commit_put(store: EventStore) -> None:
    await _add(store, 1)
    await _add(store, 2)
    assert await _sums(store) == {"total-1": 3}


async def test_a_row_is_replaced_whole(store: EventStore) -> None:
    await _add(store, 1)
    await run_sql(store.database, "UPDATE totals_read.sums SET note = 'of the row before'")
    await _add(store, 1)
    rows = await store.database.fetch(select(SUMS.c.note))
    assert [row["note"] for row in rows] == [None]


async def test_every_kind_of_value_comes_back_as_it_was(store: EventStore) -> None:
    recorded = await store.handle(ADDING, "total-1", Add(7))
    rows = await store.database.fetch(select(STEPS))
    assert [dict(row) for row in rows] == [
        {
            "event_id": recorded[0].event_id,
            "order": 7,
            "at": recorded[0].at,
            "more": {"amount": 7, "text": 'a "quoted" \\ text'},
        }
    ]


async def test_commits_that_meet_on_one_stream_all_count(store: EventStore) -> None:
    await asyncio.gather(*(_add(store, 1) for _ in range(50)))
    assert await _sums(store) == {"total-1": 50}
    assert await _orders(store) == list(range(1, 51))


async def test_a_message_handled_already_puts_no_row(store: EventStore) -> None:
    heard = Heard("credits", [new_id()])

    async def work(unit: Unit) -> None:
        await unit.decide(ADDING, "total-1", Add(1))

    await store.transact(work, heard=heard)
    with pytest.raises(AlreadyHandled):
        await store.transact(work, heard=heard)
    assert await _sums(store) == {"total-1": 1}


async def test_a_row_that_another_one_excludes_leaves_nothing_written(store: EventStore) -> None:
    await _add(store, 1, stream_id="total-1")
    with pytest.raises(Unavailable):
        await _add(store, 1, stream_id="total-2")
    assert await _sums(store) == {"total-1": 1}
    assert await count(store.database, "events") == 1


async def test_rows_and_statements_on_one_table_keep_their_order(
    database_with_tables: Database,
) -> None:
    store = _store(database_with_tables, _clears_every_third)
    await _add(store, 1, 2, 4, 8)
    assert await _sums(store) == {"total-1": 15}
    await _add(store, 16, 32)
    assert await _sums(store) == {}


async def test_rows_beside_statements_are_committed_with_them_or_not_at_all(
    store: EventStore,
) -> None:
    async def work(unit: Unit) -> None:
        await unit.decide(ADDING, "total-1", Add(1))
        unit.record_sql("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await store.transact(work)
    assert await _sums(store) == {}


async def test_a_row_with_a_column_that_its_table_lacks_is_refused(
    database_with_tables: Database,
) -> None:
    store = _store(database_with_tables, lambda item: [Put(SUMS, {**_sum(item).values, "x": 1})])
    with pytest.raises(ValueError, match="sums has no"):
        await _add(store, 1)
    assert await count(database_with_tables, "events") == 0


@pytest.mark.parametrize("projecting", [project, _clears_every_third])
async def test_a_rebuild_gives_the_same_rows(
    database_with_tables: Database, projecting: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.projections.REBUILT_AT_ONCE", 4)
    store = _store(database_with_tables, projecting)
    for amount in range(1, 12):
        await _add(store, amount, 30)

    async def tables() -> list[list[Any]]:
        return [
            sorted(tuple(row) for row in await store.database.fetch(select(table)))
            for table in (SUMS, STEPS)
        ]

    before = await tables()
    assert await rebuild(store.database, SCHEMA, ReadModel(TABLES, projecting), [TOTAL]) == 22
    assert await tables() == before
