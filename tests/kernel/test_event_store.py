"""The event store over each PostgreSQL found: one transaction, versions, append-only, conflicts."""

import asyncio
from collections.abc import Iterable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select

from kernel.clock import new_id
from kernel.errors import Rejected
from kernel.event_store import AlreadyHandled, EventStore, Heard
from kernel.messages import Aggregate
from kernel.sql import Database, Statement, create_tables
from kernel.testing import FakeClock
from kernel.unit import Recorded, Unit
from tests.kernel.totals import ADDING, SCHEMA, TOTAL, Add, Added, Total


@pytest.fixture
def store(database: Database) -> EventStore:
    return EventStore(database, SCHEMA, [TOTAL], clock=FakeClock())


async def _count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.{table}"))


async def test_a_command_leaves_its_event_and_the_head_after_it(store: EventStore) -> None:
    recorded = await store.handle(ADDING, "total-1", Add(5))
    assert [(item.event, item.version) for item in recorded] == [(Added(5, 5), 1)]
    assert await store.read(TOTAL, "total-1") == (Total(5), 1)


async def test_a_stream_that_nobody_wrote_is_in_its_initial_state(store: EventStore) -> None:
    assert await store.read(TOTAL, "total-none") == (Total(), 0)


async def test_a_command_without_need_writes_nothing(store: EventStore) -> None:
    assert list(await store.handle(ADDING, "total-1", Add(0))) == []
    assert await _count(store.database, "events") == 0


async def test_a_refused_command_writes_nothing(store: EventStore) -> None:
    with pytest.raises(Rejected):
        await store.handle(ADDING, "total-1", Add(5, total_max=4))
    assert await _count(store.database, "events") == 0
    assert await _count(store.database, "streams") == 0


async def test_two_hundred_commands_at_once_on_one_stream_all_count(store: EventStore) -> None:
    await asyncio.gather(*(store.handle(ADDING, "total-1", Add(1)) for _ in range(200)))
    assert await store.read(TOTAL, "total-1") == (Total(200), 200)


async def test_a_limit_holds_however_many_ask_at_once(store: EventStore) -> None:
    answers = await asyncio.gather(
        *(store.handle(ADDING, "total-1", Add(1, total_max=7)) for _ in range(30)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Rejected) for answer in answers) == 23
    assert await store.read(TOTAL, "total-1") == (Total(7), 7)


async def test_commands_on_two_streams_at_once_do_not_wait_for_each_other_for_ever(
    store: EventStore,
) -> None:
    async def both(first: str, second: str) -> None:
        async def work(unit: Unit) -> None:
            await unit.decide(ADDING, first, Add(1))
            await unit.decide(ADDING, second, Add(1))

        await store.transact(work)

    pairs = [("total-a", "total-b"), ("total-b", "total-a")] * 20
    await asyncio.gather(*(both(first, second) for first, second in pairs))
    assert await store.read(TOTAL, "total-a") == (Total(40), 40)
    assert await store.read(TOTAL, "total-b") == (Total(40), 40)


async def test_records_and_events_commit_together_or_not_at_all(store: EventStore) -> None:
    async def work(unit: Unit) -> None:
        await unit.decide(ADDING, "total-1", Add(1))
        unit.record_sql("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await store.transact(work)
    assert await _count(store.database, "events") == 0
    assert await store.read(TOTAL, "total-1") == (Total(), 0)


async def test_projections_keep_their_order_on_each_table(database: Database) -> None:
    tables = MetaData(schema=SCHEMA)
    notes = [
        Table(name, tables, Column("nth", Integer, primary_key=True), Column("amount", Integer))
        for name in ("first_notes", "second_notes")
    ]
    async with database.connection() as connection:
        await connection.execute(create_tables(notes))

    def project(recorded: Recorded[Added]) -> Iterable[Statement]:
        for table in notes:
            yield table.insert(), {"nth": recorded.version, "amount": 0}
            yield table.update(), {"amount": recorded.event.amount}

    store = EventStore(database, SCHEMA, [TOTAL], clock=FakeClock(), project=project)

    async def work(unit: Unit) -> None:
        for amount in (7, 8, 9):
            await unit.decide(ADDING, "total-1", Add(amount))

    await store.transact(work)
    for table in notes:
        rows = await database.fetch(select(table.c.amount))
        assert [row["amount"] for row in rows] == [9, 9, 9]


async def test_a_message_has_its_effects_once(store: EventStore) -> None:
    key = Heard("credits", [new_id()])
    await _with_partitions(store)

    async def work(unit: Unit) -> None:
        await unit.decide(ADDING, "total-1", Add(1))

    await store.transact(work, heard=key)
    with pytest.raises(AlreadyHandled):
        await store.transact(work, heard=key)
    assert await store.read(TOTAL, "total-1") == (Total(1), 1)


async def test_the_same_message_at_once_has_its_effects_once(store: EventStore) -> None:
    key = Heard("credits", [new_id()])
    await _with_partitions(store)

    async def work(unit: Unit) -> None:
        await unit.decide(ADDING, "total-1", Add(1))

    answers = await asyncio.gather(
        *(store.transact(work, heard=key) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, AlreadyHandled) for answer in answers) == 9
    assert await store.read(TOTAL, "total-1") == (Total(1), 1)


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE {SCHEMA}.events SET version = 2",
        f"DELETE FROM {SCHEMA}.events",
        f"TRUNCATE {SCHEMA}.events",
    ],
)
async def test_history_refuses_every_change(store: EventStore, change: str) -> None:
    await store.handle(ADDING, "total-1", Add(1))
    async with store.database.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(change)
    assert await _count(store.database, "events") == 1


async def test_an_old_event_is_lifted_to_the_current_version(database: Database) -> None:
    def lift(raw: dict[str, Any]) -> dict[str, Any]:
        return {"amount": raw["value"], "total_after": raw["value"]}

    lifted = Aggregate(
        "total",
        Total,
        Total,
        lambda _, event: Total(event.total_after),
        (Added,),
        schema_versions={"Added": 2},
        upcasts={("Added", 1): lift},
    )
    store = EventStore(database, SCHEMA, [lifted], clock=FakeClock())
    assert store.codec.decode("Added", 1, {"value": 3}) == Added(3, 3)
    assert store.codec.decode("Added", 2, {"amount": 3, "total_after": 9}) == Added(3, 9)


async def _with_partitions(store: EventStore) -> None:
    from kernel.inbox import ensure_partitions

    async with store.database.connection() as connection:
        await ensure_partitions(connection, SCHEMA, store.clock.now())
