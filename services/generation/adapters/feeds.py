"""Who follows tasks in this process, and how they are woken.

While nobody says that a task has changed, a follower costs no query and no connection: all of them
together are asked for by one query each `SWEEP_EVERY_S`, which finds what a lost broadcast left
unsaid.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

import structlog

from contracts.envelope import Envelope
from contracts.generation import TaskProgressed
from kernel.bus import Bus
from kernel.errors import Unavailable
from kernel.event_store import EventStore
from kernel.sql import DATABASE_AWAY
from kernel.waiting import Waiters
from services.generation.domain.task import TASK

FOLLOWERS_MAX: Final = 2_000
"""For each process; each has a connection of its own to somebody."""
SWEEP_EVERY_S: Final = 15.0

_log = structlog.get_logger(__name__)


class Follower(asyncio.Event):
    """Somebody who follows one task. What happens while it is busy is one wake afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.known_version = 0
        self._changed = True
        self._progress = 0
        self._told_progress = 0

    def set(self) -> None:
        """The task has changed, or may have."""
        self._changed = True
        super().set()

    def progressed(self, progress: int) -> None:
        """Its provider says so (0-100)."""
        self._progress = max(progress, self._progress)
        super().set()

    def change(self) -> bool:
        """Whether the feed is to be read, since this was asked last. What happens from now on wakes
        anew."""
        self.clear()
        changed, self._changed = self._changed, False
        return changed

    def progress(self) -> int | None:
        """How far it is, if it is further than was said last."""
        if self._progress <= self._told_progress:
            return None
        self._told_progress = self._progress
        return self._progress

    async def woken(self, timeout_s: float) -> bool:
        """False when nothing happened in that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.wait()
        return self.is_set()


class Followers:
    """All of this process, at most `followers_max` at once."""

    def __init__(
        self, store: EventStore, bus: Bus, waiters: Waiters, followers_max: int = FOLLOWERS_MAX
    ) -> None:
        self._store = store
        self._waiters = waiters
        self._followers_max = followers_max
        self._by_task: dict[UUID, set[Follower]] = {}
        self.count = 0
        bus.listen(TaskProgressed, self._hear)

    @property
    def ending(self) -> bool:
        """Whether nobody is to wait for more."""
        return self._waiters.ending

    @contextmanager
    def following(self, task_id: UUID) -> Iterator[Follower]:
        """Raises `Unavailable` when there are too many already."""
        if self.count >= self._followers_max:
            raise Unavailable("too_many_streams", "Too many follow tasks here.", retry_after_s=5)
        follower = Follower()
        with self._waiters.subscribed(task_id, follower):
            self.count += 1
            self._by_task.setdefault(task_id, set()).add(follower)
            try:
                yield follower
            finally:
                self.count -= 1
                others = self._by_task[task_id]
                others.discard(follower)
                if not others:
                    del self._by_task[task_id]

    async def run(self) -> None:
        """Until cancelled: look for what no broadcast has told."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self.sweep()
            except (*DATABASE_AWAY, TimeoutError) as error:
                _log.warning("feeds_not_swept", error=type(error).__name__)

    async def sweep(self) -> None:
        """Wake who has not been told of the present version of their task."""
        if not self._by_task:
            return
        tasks = {TASK.stream_id(task_id): task_id for task_id in self._by_task}
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT stream_id, version FROM generation.streams"
                " WHERE stream_id = ANY($1::text[])",
                list(tasks),
            )
        for row in rows:
            for follower in self._by_task.get(tasks[row["stream_id"]], ()):
                if row["version"] > follower.known_version:
                    follower.set()

    async def _hear(self, envelope: Envelope) -> None:
        event = TaskProgressed.model_validate(envelope.data)
        for follower in self._by_task.get(event.task_id, ()):
            follower.progressed(event.progress)
