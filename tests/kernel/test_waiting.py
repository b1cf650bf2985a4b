import asyncio
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.errors import Unavailable
from kernel.waiting import WAITERS_MAX, Turns, Waiters

LONG_S = 20.0


class Record:
    """What waiters read: a number, and how often it was read."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.was_read = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        self.was_read.set()
        return self.value


async def until_one(
    waiters: Waiters, identity: UUID, record: Record, timeout_s: float = LONG_S
) -> int:
    with waiters.subscribed(identity) as changed:
        return await waiters.until(changed, record.read, lambda value: value == 1, timeout_s)


async def test_reads_again_when_changes_may_have_been_missed() -> None:
    waiters, record = Waiters(), Record()
    waiting = asyncio.ensure_future(until_one(waiters, new_id(), record))
    await record.was_read.wait()
    record.value = 1
    waiters.wake_all()
    assert await waiting == 1
    assert record.reads == 2


async def test_answers_at_once_when_it_is_so_already() -> None:
    record = Record()
    record.value = 1
    assert await until_one(Waiters(), new_id(), record) == 1
    assert record.reads == 1


async def test_wakes_on_a_change_and_reads_again() -> None:
    waiters, identity, record = Waiters(), new_id(), Record()
    waiting = asyncio.ensure_future(until_one(waiters, identity, record))
    await record.was_read.wait()
    record.value = 1
    waiters.changed(identity)
    assert await waiting == 1
    assert record.reads == 2


async def test_a_change_while_it_reads_is_not_lost() -> None:
    waiters, identity = Waiters(), new_id()
    answers = [0, 1]

    async def read() -> int:
        value = answers.pop(0)
        waiters.changed(identity)  # after the value was taken, before it was looked at
        return value

    with waiters.subscribed(identity) as changed:
        assert await waiters.until(changed, read, lambda value: value == 1, LONG_S) == 1


async def test_a_change_between_subscribing_and_reading_is_seen() -> None:
    waiters, identity, record = Waiters(), new_id(), Record()
    with waiters.subscribed(identity) as changed:
        record.value = 1
        waiters.changed(identity)
        assert await waiters.until(changed, record.read, lambda value: value == 1, LONG_S) == 1


async def test_everyone_who_waits_for_the_same_is_woken() -> None:
    waiters, identity, records = Waiters(), new_id(), [Record() for _ in range(3)]
    waiting = [asyncio.ensure_future(until_one(waiters, identity, record)) for record in records]
    for record in records:
        await record.was_read.wait()
        record.value = 1
    waiters.changed(identity)
    assert await asyncio.gather(*waiting) == [1, 1, 1]


async def test_a_change_of_another_wakes_nobody() -> None:
    waiters, record = Waiters(), Record()
    waiting = asyncio.ensure_future(until_one(waiters, new_id(), record, 0.02))
    await record.was_read.wait()
    waiters.changed(new_id())
    assert await waiting == 0
    assert record.reads == 2  # at the beginning and at the time-out


async def test_reads_once_more_before_it_gives_up() -> None:
    record, answers = Record(), [0, 1]

    async def read() -> int:
        await record.read()
        return answers.pop(0)

    waiters = Waiters()
    with waiters.subscribed(new_id()) as changed:
        assert await waiters.until(changed, read, lambda value: value == 1, 0.01) == 1


async def test_the_end_answers_all_with_what_is_true_now() -> None:
    waiters, record = Waiters(), Record()
    waiting = asyncio.ensure_future(until_one(waiters, new_id(), record))
    await record.was_read.wait()
    waiters.end()
    assert await waiting == 0
    assert await until_one(waiters, new_id(), record) == 0


async def test_waiting_can_be_cancelled_and_leaves_nothing_behind() -> None:
    waiters, record = Waiters(), Record()
    waiting = asyncio.ensure_future(until_one(waiters, new_id(), record))
    await record.was_read.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (waiters._by_id, waiters._count) == ({}, 0)


async def test_a_cancellation_that_meets_the_change_is_not_swallowed() -> None:
    waiters, identity, record = Waiters(), new_id(), Record()
    waiting = asyncio.ensure_future(until_one(waiters, identity, record))
    await record.was_read.wait()
    await asyncio.sleep(0)  # now it waits for the change
    waiters.changed(identity)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_refuses_more_waiters_than_it_may_hold() -> None:
    waiters = Waiters()
    waiters._count = WAITERS_MAX
    with pytest.raises(Unavailable) as refused, waiters.subscribed(new_id()):
        pass
    assert refused.value.retry_after_s == 1


async def test_who_gets_no_turn_in_time_is_told_to_come_again() -> None:
    turns = Turns(at_once=1, timeout_s=0.01)
    async with turns.taken():
        with pytest.raises(Unavailable) as refused:
            async with turns.taken():
                pass
    assert refused.value.retry_after_s == 1


async def test_a_turn_that_ends_in_a_fault_is_given_back() -> None:
    turns = Turns(at_once=1, timeout_s=1)
    with pytest.raises(ValueError, match="broke"):
        async with turns.taken():
            raise ValueError("broke")
    async with turns.taken():
        pass
