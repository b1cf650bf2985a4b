"""Saying: what committed is published at least once, in order, whoever dies."""

import asyncio

import pytest

from kernel.clock import new_id
from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.outbox import AWAY_AFTER_S, PENDING_MAX, Publisher
from kernel.sql import Database
from kernel.testing import FakeClock
from tests.kernel.totals import (
    ADDING,
    SCHEMA,
    TOTAL,
    Add,
    StubbornBus,
    amounts,
    announce,
    count,
    eventually,
    release,
    run_sql,
    running,
)

STREAM = "total-1"
EXPIRE = f"UPDATE {SCHEMA}.outbox SET lease_until = clock_timestamp() - interval '1 second'"


def new_store(database: Database) -> EventStore:
    return EventStore(database, SCHEMA, [TOTAL], clock=FakeClock(), announce=announce)


@pytest.fixture
def store(database: Database) -> EventStore:
    return new_store(database)


async def leave_a_row_behind(store: EventStore) -> None:
    """What is left of a process that died before its message was confirmed."""
    bus = StubbornBus()
    bus.gate.clear()
    async with running(Publisher(store, bus).run):
        await store.handle(ADDING, STREAM, Add(1))
        await eventually(lambda: amounts(bus.attempts) == [1])
    assert bus.published == []


async def test_publishes_what_committed_and_nothing_else(store: EventStore) -> None:
    bus = StubbornBus()
    publisher = Publisher(store, bus)
    with pytest.raises(Rejected):
        await store.handle(ADDING, STREAM, Add(1, total_max=0))
    await store.handle(ADDING, STREAM, Add(2))
    async with running(publisher.run):
        assert await publisher.drain(20)
    assert amounts(bus.attempts) == [2]


async def test_a_message_is_its_event_with_its_place_in_history(store: EventStore) -> None:
    bus = StubbornBus()
    publisher = Publisher(store, bus)
    (recorded,) = await store.handle(ADDING, STREAM, Add(1))
    async with running(publisher.run):
        assert await publisher.drain(20)
    (message,) = bus.published
    assert (message.id, message.subject, message.streamversion) == (recorded.event_id, STREAM, 1)


async def test_what_is_confirmed_is_deleted(store: EventStore) -> None:
    publisher = Publisher(store, StubbornBus())
    await store.handle(ADDING, STREAM, Add(1))
    assert await count(store.database, "outbox") == 1
    async with running(publisher.run):
        assert await publisher.drain(20)
    assert await count(store.database, "outbox") == 0


async def test_keeps_the_order_of_a_stream_through_failures(store: EventStore) -> None:
    bus = StubbornBus()
    bus.faults = [ConnectionError(), ConnectionError()]
    publisher = Publisher(store, bus)
    for amount in range(1, 9):
        await store.handle(ADDING, STREAM, Add(amount))
    async with running(publisher.run):
        assert await publisher.drain(20)
    assert amounts(bus.published) == list(range(1, 9))
    assert amounts(bus.attempts)[:3] == [1, 1, 1]


async def test_a_stream_that_fails_holds_up_no_other(store: EventStore) -> None:
    bus = StubbornBus()
    publisher = Publisher(store, bus)
    bus.faults = [ConnectionError()]
    await store.handle(ADDING, "total-a", Add(1))
    await store.handle(ADDING, "total-b", Add(2))
    async with running(publisher.run):
        await eventually(lambda: amounts(bus.published) == [2, 1])


@pytest.mark.parametrize("fault", [ConnectionError(), asyncio.CancelledError()])
async def test_no_fault_of_the_transport_costs_a_publishing_slot(
    store: EventStore, fault: BaseException
) -> None:
    bus = StubbornBus()
    bus.faults = [fault]
    publisher = Publisher(store, bus)
    await store.handle(ADDING, STREAM, Add(1))
    async with running(publisher.run):
        assert await publisher.drain(20)
    assert (len(bus.attempts), len(bus.published)) == (2, 1)


async def test_a_publish_without_an_answer_is_given_up_and_tried_again(store: EventStore) -> None:
    bus = StubbornBus()
    bus.gate.clear()
    publisher = Publisher(store, bus, publish_timeout_s=0.01)
    await store.handle(ADDING, STREAM, Add(1))
    async with running(publisher.run):
        await eventually(lambda: len(bus.attempts) == 2)
        bus.gate.set()
        assert await publisher.drain(20)
    assert len(bus.published) == 1


async def test_a_bus_that_is_away_puts_nothing_off_for_longer_and_longer(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.outbox.BACKOFF_MAX_S", 3_600.0)
    monkeypatch.setattr("kernel.outbox.BACKOFF_FIRST_S", 0.001)
    bus = StubbornBus()
    bus.gate.clear()
    bus.gone_s = 60.0
    publisher = Publisher(store, bus, publish_timeout_s=0.001)
    await store.handle(ADDING, STREAM, Add(1))
    async with running(publisher.run):
        await eventually(lambda: len(bus.attempts) > 60)  # else the last fifty are a second apart
        bus.gone_s = 0.0
        bus.gate.set()
        assert await publisher.drain(20)


async def test_says_when_it_could_not_publish_all_in_time(store: EventStore) -> None:
    bus = StubbornBus()
    bus.gate.clear()
    publisher = Publisher(store, bus)
    await store.handle(ADDING, STREAM, Add(1))
    async with running(publisher.run):
        assert not await publisher.drain(0.01)


async def test_another_publisher_takes_over_when_the_lease_has_run_out(
    store: EventStore, database: Database
) -> None:
    await leave_a_row_behind(store)
    bus = StubbornBus()
    other = Publisher(new_store(database), bus)
    assert await other._claim(everything=False) == 0
    await run_sql(database, EXPIRE)
    async with running(other.run):
        await eventually(lambda: amounts(bus.published) == [1])
        assert await other.drain(20)
    assert await count(database, "outbox") == 0


async def test_a_sole_owner_waits_for_no_lease(store: EventStore, database: Database) -> None:
    await leave_a_row_behind(store)
    bus = StubbornBus()
    async with running(Publisher(new_store(database), bus, sole_owner=True).run):
        await eventually(lambda: amounts(bus.published) == [1])


async def test_claims_the_rows_of_the_dead_in_their_order(
    store: EventStore, database: Database
) -> None:
    for amount in range(1, 9):
        await store.handle(ADDING, STREAM, Add(amount))
    bus = StubbornBus()
    async with running(Publisher(new_store(database), bus, sole_owner=True).run):
        await eventually(lambda: amounts(bus.published) == list(range(1, 9)))


async def test_of_two_that_claim_at_once_one_gets_a_row(
    store: EventStore, database: Database
) -> None:
    await leave_a_row_behind(store)
    await run_sql(database, EXPIRE)
    publishers = [Publisher(new_store(database), StubbornBus()) for _ in range(4)]
    claimed = await asyncio.gather(*(item._claim(everything=False) for item in publishers))
    assert sorted(claimed) == [0, 0, 0, 1]


async def test_renews_the_lease_of_what_is_confirmed_but_not_yet_deleted(
    store: EventStore, database: Database
) -> None:
    publisher = Publisher(store, StubbornBus())
    await store.handle(ADDING, STREAM, Add(1))
    publisher._confirm(STREAM, publisher._by_stream[STREAM][0])
    await run_sql(database, EXPIRE)
    await publisher._renew()
    other = Publisher(new_store(database), StubbornBus())
    assert await other._claim(everything=False) == 0


async def test_is_behind_while_its_bus_is_away_and_not_for_a_moment_only(
    store: EventStore,
) -> None:
    bus = StubbornBus()
    publisher = Publisher(store, bus)
    bus.gone_s = AWAY_AFTER_S
    assert not publisher.behind
    bus.gone_s = AWAY_AFTER_S + 0.1
    assert publisher.behind


async def test_is_behind_while_its_oldest_row_is_old(store: EventStore) -> None:
    bus = StubbornBus()
    bus.gate.clear()
    publisher = Publisher(store, bus, behind_after_s=0.001)
    assert not publisher.behind
    await store.handle(ADDING, STREAM, Add(1))
    async with running(publisher.run):
        await eventually(lambda: publisher.behind)
        bus.gate.set()
        assert await publisher.drain(20)
    assert not publisher.behind


async def test_keeps_no_more_in_memory_than_it_may(store: EventStore, database: Database) -> None:
    await leave_a_row_behind(store)
    await run_sql(database, EXPIRE)
    publisher = Publisher(new_store(database), StubbornBus())
    message = release()
    crowd = [message.model_copy(update={"id": new_id()}) for _ in range(PENDING_MAX + 1)]
    publisher._take_committed((), crowd)
    assert publisher.behind
    assert len(publisher._since) == PENDING_MAX
    assert await publisher._claim(everything=False) == 0
    assert len(publisher._since) == PENDING_MAX
