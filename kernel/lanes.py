"""Lanes: what is for one stream queues up in process, and what has queued up is handled together.

A few batches run at once. Each takes what has gathered in all lanes that none of the others is busy
with, so that a hot stream pays one commit for many items, and so do many streams. A batch that
fails is run again in halves, so that a bad item fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

BATCHES_MAX = 6
"""At once: enough that one is decided while the others wait for their commits, and half of a
pool's connections at most."""
BATCH_MAX = 50


@dataclass(eq=False, slots=True)
class _Waiting(Generic[T]):
    """`done` is cancelled when nobody waits for it any more."""

    key: str
    item: T
    done: asyncio.Future[None]


class Lanes(Generic[T]):
    """`handle` gets the items of lanes in their order, at most `batch_max`: all, or none."""

    def __init__(
        self, handle: Callable[[Sequence[T]], Awaitable[object]], batch_max: int = BATCH_MAX
    ) -> None:
        self._handle = handle
        self._batch_max = batch_max
        self._waiting: dict[str, deque[_Waiting[T]]] = {}
        """By lane; those that no batch is busy with are in `_free` too, in the order of waiting."""
        self._free: deque[str] = deque()
        self._running: dict[asyncio.Task[None], Sequence[_Waiting[T]]] = {}

    async def handled(self, key: str, item: T) -> None:
        """Return when `item` has been handled; raises what handling it alone raised."""
        mine = _Waiting(key, item, asyncio.get_running_loop().create_future())
        self._enter(mine)
        self._start_batches()
        try:
            await mine.done
        except asyncio.CancelledError:
            self._leave(mine)
            raise

    def _enter(self, mine: _Waiting[T]) -> None:
        lane = self._waiting.get(mine.key)
        if lane is None:
            self._waiting[mine.key] = deque([mine])
            self._free.append(mine.key)
        else:
            lane.append(mine)

    def _leave(self, mine: _Waiting[T]) -> None:
        """Not handled if it still waits; a batch that nobody waits for is cut off."""
        lane = self._waiting.get(mine.key)
        if lane is not None and mine in lane:
            lane.remove(mine)
        for task, batch in self._running.items():
            if mine in batch and all(waiting.done.cancelled() for waiting in batch):
                task.cancel()

    def _start_batches(self) -> None:
        while self._free and len(self._running) < BATCHES_MAX:
            batch = self._next_batch()
            if not batch:
                return
            task = asyncio.create_task(self._run(batch))
            self._running[task] = batch
            task.add_done_callback(self._ended)

    def _next_batch(self) -> list[_Waiting[T]]:
        """From the lanes that have waited longest; they are free no more."""
        batch: list[_Waiting[T]] = []
        while self._free and len(batch) < self._batch_max:
            key = self._free.popleft()
            lane = self._waiting[key]
            if not lane:  # who waited has left
                del self._waiting[key]
            while lane and len(batch) < self._batch_max:
                batch.append(lane.popleft())
        return batch

    async def _run(self, batch: Sequence[_Waiting[T]]) -> None:
        batch = [waiting for waiting in batch if not waiting.done.done()]
        if not batch:
            return
        try:
            await self._handle([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 - each item is told its own
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._run(batch[:middle])
                await self._run(batch[middle:])
            elif not batch[0].done.done():
                batch[0].done.set_exception(error)
        else:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Free its lanes. If it was cut off, who still waits is the first of the next batch."""
        batch = self._running.pop(task)
        for waiting in reversed(batch):
            if not waiting.done.done():
                self._waiting[waiting.key].appendleft(waiting)
        for key in dict.fromkeys(waiting.key for waiting in batch):
            if self._waiting[key]:
                self._free.append(key)
            else:
                del self._waiting[key]
        self._start_batches()
