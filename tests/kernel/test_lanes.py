import asyncio
import functools
import operator
from collections.abc import Sequence

import pytest

from kernel.lanes import BATCH_MAX, BATCHES_MAX, Lanes


class Gate:
    """Handles batches while it is open, and remembers them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.bad: set[int] = set()

    async def handle(self, items: Sequence[int]) -> None:
        self.entered.set()
        await self.open.wait()
        if self.bad & set(items):
            raise ValueError(f"bad among {list(items)}")
        self.batches.append(list(items))


async def test_what_gathers_behind_the_first_is_handled_together_in_order() -> None:
    gate = Gate()
    lanes = Lanes(gate.handle)
    first = asyncio.create_task(lanes.handled("a", 0))
    await gate.entered.wait()
    others = [asyncio.create_task(lanes.handled("a", number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *others)
    assert gate.batches == [[0], [1, 2, 3, 4, 5]]


async def test_a_batch_has_its_bound() -> None:
    gate = Gate()
    gate.open.set()
    lanes = Lanes(gate.handle)
    await asyncio.gather(*(lanes.handled("a", number) for number in range(3 * BATCH_MAX)))
    assert sorted(functools.reduce(operator.iadd, gate.batches, [])) == list(range(3 * BATCH_MAX))
    assert max(len(batch) for batch in gate.batches) <= BATCH_MAX


async def test_what_gathers_in_many_lanes_is_handled_together() -> None:
    gate = Gate()
    lanes = Lanes(gate.handle)
    running = [asyncio.create_task(lanes.handled(str(n), n)) for n in range(BATCHES_MAX)]
    await gate.entered.wait()
    others = [asyncio.create_task(lanes.handled(f"other {n}", -n)) for n in range(1, 4)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*running, *others)
    assert gate.batches == [*([n] for n in range(BATCHES_MAX)), [-1, -2, -3]]


async def test_a_lane_is_in_one_batch_at_a_time() -> None:
    gate = Gate()
    lanes = Lanes(gate.handle)
    first = asyncio.create_task(lanes.handled("a", 0))
    await gate.entered.wait()
    second = asyncio.create_task(lanes.handled("a", 1))
    other = asyncio.create_task(lanes.handled("b", 2))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, second, other)
    assert sorted(gate.batches) == [[0], [1], [2]]


async def test_a_bad_item_fails_alone() -> None:
    gate = Gate()
    gate.bad = {2}
    lanes = Lanes(gate.handle)
    items = [asyncio.create_task(lanes.handled("a", number)) for number in range(4)]
    await gate.entered.wait()
    gate.open.set()
    answers = await asyncio.gather(*items, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), type(None), ValueError, type(None)]
    assert sorted(functools.reduce(operator.iadd, gate.batches, [])) == [0, 1, 3]


async def test_one_that_is_cancelled_in_its_turn_leaves_the_others_to_go_on() -> None:
    gate = Gate()
    lanes = Lanes(gate.handle)
    first = asyncio.create_task(lanes.handled("a", 0))
    second = asyncio.create_task(lanes.handled("a", 1))
    await gate.entered.wait()
    first.cancel()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert 1 in gate.batches[-1]


async def test_one_that_is_cancelled_before_its_turn_is_not_handled() -> None:
    gate = Gate()
    lanes = Lanes(gate.handle)
    first = asyncio.create_task(lanes.handled("a", 0))
    await gate.entered.wait()
    second = asyncio.create_task(lanes.handled("a", 1))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await first
    assert gate.batches == [[0]]


async def test_a_batch_that_nobody_waits_for_is_cut_off() -> None:
    gate = Gate()
    lanes = Lanes(gate.handle)
    only = asyncio.create_task(lanes.handled("a", 0))
    await gate.entered.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    gate.open.set()
    await lanes.handled("a", 1)
    assert gate.batches == [[1]]
