"""Users who leave: steps that are short, repeated, and of nobody who was just being written."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.encryption import Encryption, Personal
from kernel.errors import Forbidden
from kernel.event_store import EventStore
from kernel.leavers import (
    STEP_LEASE,
    USERS_AT_ONCE_MAX,
    Leavers,
    record_erasure,
    record_leaver,
)
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.conftest import MASTER_KEY
from tests.kernel.totals import eventually

SCHEMA = "generation"
TABLE = f"{SCHEMA}.erasures"


class Steps:
    """Says what it is told to, and remembers who was attended to."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.answers = list(answers)
        self.taken: list[tuple[UUID, datetime]] = []

    async def __call__(self, user_id: UUID, since: datetime) -> float | None:
        self.taken.append((user_id, since))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def store(database: Database, clock: FakeClock) -> EventStore:
    return EventStore(database, SCHEMA, [], clock=clock)


@pytest.fixture
def personal() -> Personal:
    return Personal(SCHEMA, Encryption([MASTER_KEY]))


def leavers(store: EventStore, steps: Steps) -> Leavers:
    return Leavers(store.database, store.clock, TABLE, steps)


async def leave(store: EventStore, user_id: UUID, since: datetime) -> None:
    async def work(unit: Unit) -> None:
        record_leaver(unit, TABLE, user_id, since)

    await store.transact(work)


async def erase(store: EventStore, user_id: UUID) -> None:
    async def work(unit: Unit) -> None:
        record_erasure(unit, SCHEMA, user_id, unit.now)

    await store.transact(work)


async def test_steps_follow_each_other_until_nothing_is_left(
    store: EventStore, clock: FakeClock
) -> None:
    user, since, steps = new_id(), clock.now(), Steps(0, 5.0, None)
    await leave(store, user, since)
    working = leavers(store, steps)
    assert [await working.attend() for _ in range(3)] == [1, 1, 0]
    clock.turn(timedelta(seconds=5))
    assert [await working.attend() for _ in range(2)] == [1, 0]
    clock.turn(timedelta(days=1))
    assert await working.attend() == 0
    assert steps.taken == [(user, since)] * 3


async def test_a_step_that_failed_is_taken_again_after_its_lease(
    store: EventStore, clock: FakeClock
) -> None:
    steps = Steps(ConnectionError("away"), None)
    await leave(store, new_id(), clock.now())
    assert await leavers(store, steps).attend() == 1
    assert await leavers(store, steps).attend() == 0
    clock.turn(STEP_LEASE)
    assert [await leavers(store, steps).attend() for _ in range(2)] == [1, 0]
    assert len(steps.taken) == 2


async def test_who_is_named_again_is_attended_to_again_from_the_later_time(
    store: EventStore, clock: FakeClock
) -> None:
    user, first, steps = new_id(), clock.now(), Steps()
    await leave(store, user, first)
    await leavers(store, steps).attend()
    later = first + timedelta(hours=1)
    for since in (later, first):
        await leave(store, user, since)
    assert [await leavers(store, steps).attend() for _ in range(2)] == [1, 0]
    assert steps.taken == [(user, first), (user, later)]


async def test_who_is_named_again_during_a_step_stays_due(
    store: EventStore, clock: FakeClock
) -> None:
    user, named = new_id(), 0

    async def step(_: UUID, __: datetime) -> float | None:
        nonlocal named
        named += 1
        if named == 1:
            await leave(store, user, clock.now())
        return None

    await leave(store, user, clock.now())
    working = Leavers(store.database, clock, TABLE, step)
    assert [await working.attend() for _ in range(3)] == [1, 1, 0]


async def test_many_users_are_attended_to_a_few_at_a_time(
    store: EventStore, clock: FakeClock
) -> None:
    users = [new_id() for _ in range(USERS_AT_ONCE_MAX + 1)]
    for user in users:
        await leave(store, user, clock.now())
    steps = Steps()
    assert await leavers(store, steps).attend() == USERS_AT_ONCE_MAX
    assert await leavers(store, steps).attend() == 1
    assert {user for user, _ in steps.taken} == set(users)


async def test_two_processes_never_take_the_same_step(store: EventStore, clock: FakeClock) -> None:
    for _ in range(8):
        await leave(store, new_id(), clock.now())
    steps = Steps()
    await asyncio.gather(*(leavers(store, steps).attend() for _ in range(2)))
    assert len(steps.taken) == len({user for user, _ in steps.taken}) == 8


async def test_no_personal_record_of_an_erased_user_is_taken_any_more(
    store: EventStore, personal: Personal
) -> None:
    erased, other = new_id(), new_id()
    await erase(store, erased)

    async def keep(unit: Unit, owner: UUID) -> None:
        await personal.keep(unit, owner, "task-1", "words")

    await store.transact(lambda unit: keep(unit, other))
    with pytest.raises(Forbidden) as refusal:
        await store.transact(lambda unit: keep(unit, erased))
    assert refusal.value.code == "access_denied"
    async with store.database.connection() as connection:
        owners = await connection.fetch(f"SELECT owner_id FROM {SCHEMA}.personal")
    assert [row["owner_id"] for row in owners] == [other]


async def test_an_erasure_waits_for_a_record_that_is_being_written_and_then_sees_it(
    store: EventStore, database: Database
) -> None:
    user = new_id()
    async with database.transaction() as writing:
        await writing.execute(f"INSERT INTO {SCHEMA}.personal VALUES ($1, 'task-1', '')", user)
        erasing = asyncio.ensure_future(erase(store, user))
        await _blocked(database)
        assert not erasing.done()
    await erasing
    async with database.connection() as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.personal") == 1


async def test_a_record_waits_for_an_erasure_that_is_being_written_and_is_then_refused(
    store: EventStore, database: Database, personal: Personal
) -> None:
    user = new_id()

    async def keep(unit: Unit) -> None:
        await personal.keep(unit, user, "task-1", "words")

    async with database.transaction() as erasing:
        await erasing.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{SCHEMA}.erasures {user}"
        )
        await erasing.execute(f"INSERT INTO {TABLE} VALUES ($1, now(), now())", user)
        writing = asyncio.ensure_future(store.transact(keep))
        await _blocked(database)
    with pytest.raises(Forbidden):
        await writing


async def _blocked(database: Database) -> None:
    """Until somebody waits for the lock of a user in this database."""
    async with database.connection() as connection:

        async def somebody_waits() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_locks"
                    " WHERE locktype = 'advisory' AND NOT granted AND database ="
                    " (SELECT oid FROM pg_database WHERE datname = current_database()))"
                )
            )

        await eventually(somebody_waits)
