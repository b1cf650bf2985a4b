"""What recurs is done by one process at a time, and again after its time or its lease."""

import asyncio
from datetime import timedelta

import pytest

from kernel.sql import Database
from kernel.testing import FakeClock
from services.storage.adapters.rounds import LEASE, Round, RoundRecords, Rounds

DAY = timedelta(days=1)


class Counted:
    """Work that is counted, and fails when it is told to."""

    def __init__(self) -> None:
        self.times = 0
        self.error: BaseException | None = None

    async def work(self) -> None:
        self.times += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def work() -> Counted:
    return Counted()


@pytest.fixture
def rounds(database: Database, clock: FakeClock, work: Counted) -> Rounds:
    return Rounds(database, clock, [Round("counting", DAY, work.work)])


async def test_a_round_is_done_at_once_and_then_every_so_often(
    rounds: Rounds, work: Counted, clock: FakeClock
) -> None:
    assert await rounds.look() == ["counting"]
    clock.turn(DAY - timedelta(seconds=1))
    assert await rounds.look() == []
    clock.turn(timedelta(seconds=1))
    assert await rounds.look() == ["counting"]
    assert work.times == 2


async def test_of_many_processes_one_does_it(
    database: Database, clock: FakeClock, work: Counted
) -> None:
    many = [Rounds(database, clock, [Round("counting", DAY, work.work)]) for _ in range(5)]
    await asyncio.gather(*(one.look() for one in many))
    assert work.times == 1


async def test_what_failed_is_done_again_after_its_lease(
    rounds: Rounds, work: Counted, clock: FakeClock
) -> None:
    for error in (OSError("away"), ValueError("of another kind")):
        work.error = error
        assert await rounds.look() == []
        clock.turn(LEASE - timedelta(seconds=1))
        assert await rounds.look() == []
        clock.turn(timedelta(seconds=1))
    work.error = None
    assert await rounds.look() == ["counting"]


async def test_what_was_seen_is_kept_for_all_and_does_not_put_the_round_off(
    database: Database, clock: FakeClock, rounds: Rounds
) -> None:
    records = RoundRecords(database)
    assert await records.seen("counting") == {}
    await records.see("counting", {"day": "2026-01-01"})
    assert await rounds.look() == ["counting"]
    assert await records.seen("counting") == {"day": "2026-01-01"}
    clock.turn(LEASE)
    assert await rounds.look() == []


async def test_what_is_shown_is_shown_each_time(
    database: Database, clock: FakeClock, work: Counted
) -> None:
    shown = Counted()
    rounds = Rounds(database, clock, [Round("counting", DAY, work.work)], shown.work)
    await rounds.look()
    shown.error = OSError("away")
    await rounds.look()
    assert (work.times, shown.times) == (1, 2)
