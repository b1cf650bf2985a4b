"""Lanes: what is for one stream queues up in process, and is handled together when it has.

Whoever gets its turn in a lane handles all that has gathered there, so that a hot stream pays one
commit for many items. A batch that fails is run again one by one, so that a bad item fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

LANES = 64
BATCH_MAX = 50


@dataclass(eq=False, slots=True)
class _Waiting(Generic[T]):
    item: T
    ended: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class _Lane(Generic[T]):
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: deque[_Waiting[T]] = field(default_factory=deque)


class Lanes(Generic[T]):
    """`handle` gets items of one lane, oldest first, at most `BATCH_MAX`: all, or none of them."""

    def __init__(
        self, handle: Callable[[Sequence[T]], Awaitable[object]], batch_max: int = BATCH_MAX
    ) -> None:
        self._handle = handle
        self._batch_max = batch_max
        self._lanes: list[_Lane[T]] = [_Lane() for _ in range(LANES)]

    async def handled(self, key: str, item: T) -> None:
        """Return when `item` has been handled; raises what handling it alone raised."""
        lane = self._lanes[hash(key) % LANES]
        mine = _Waiting(item)
        lane.waiting.append(mine)
        try:
            async with lane.turn:
                while not mine.ended:
                    await self._run(lane)
        finally:
            if mine in lane.waiting:  # cancelled before its turn
                lane.waiting.remove(mine)
        if mine.error is not None:
            raise mine.error

    async def _run(self, lane: _Lane[T]) -> None:
        batch = [lane.waiting.popleft() for _ in range(min(self._batch_max, len(lane.waiting)))]
        try:
            await self._run_together(batch)
        finally:
            # Cancelled in the middle: the others still wait, and one of them goes on.
            lane.waiting.extendleft(waiting for waiting in reversed(batch) if not waiting.ended)

    async def _run_together(self, batch: Sequence[_Waiting[T]]) -> None:
        try:
            await self._handle([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 - each item is told its own
            if len(batch) == 1:
                batch[0].error = error
            else:
                for waiting in batch:
                    await self._run_together([waiting])
        for waiting in batch:
            waiting.ended = True
