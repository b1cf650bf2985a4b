"""Tells every replica how far the provider says that a task is. Lossy: the end is an event."""

import asyncio
from typing import Final
from uuid import UUID

import structlog

from contracts.envelope import Envelope
from contracts.generation import TaskProgressed
from kernel.bus import Bus
from kernel.clock import Clock, new_id
from kernel.context import current_origin
from kernel.sql import DATABASE_AWAY
from services.generation.adapters.due_list import DueList
from services.generation.domain.task import TASK

TASKS_MAX: Final = 1_000
NO_VERSION: Final = 0
"""It is no event of the task's stream."""

_log = structlog.get_logger(__name__)


class TaskProgress:
    """Broadcasts the mean of a task's outputs whenever one of them is further."""

    def __init__(self, due: DueList, bus: Bus, clock: Clock) -> None:
        self._due = due
        self._bus = bus
        self._clock = clock
        self._grown: set[UUID] = set()
        self._wake = asyncio.Event()

    def grown(self, task_id: UUID) -> None:
        if len(self._grown) < TASKS_MAX:
            self._grown.add(task_id)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Many tasks at once are one query."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            task_ids, self._grown = self._grown, set()
            try:
                progress = await self._due.progress_of(list(task_ids))
            except (*DATABASE_AWAY, TimeoutError) as error:
                _log.warning("progress_not_told", error=type(error).__name__)
                continue
            for task_id, percent in progress.items():
                await self._tell(task_id, percent)

    async def _tell(self, task_id: UUID, percent: int) -> None:
        await self._bus.broadcast(
            Envelope.of(
                TaskProgressed(task_id=task_id, progress=percent),
                event_id=new_id(),
                subject=TASK.stream_id(task_id),
                version=NO_VERSION,
                time=self._clock.now(),
                correlation_id=current_origin().correlation_id,
            )
        )
