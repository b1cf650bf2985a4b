"""Tells every replica that a task has changed, so that whoever waits for it reads again."""

import asyncio
from collections.abc import Sequence
from typing import Any

from contracts.envelope import Envelope
from contracts.generation import TaskChanged
from kernel.bus import Bus
from kernel.event_store import EventStore
from kernel.unit import Recorded
from kernel.waiting import Waiters

QUEUE_MAX = 10_000


class TaskChanges:
    """After each commit, one broadcast for each task in it. Lossy by nature: waiters read again
    anyway."""

    def __init__(self, store: EventStore, bus: Bus, waiters: Waiters) -> None:
        self._bus = bus
        self._waiters = waiters
        self._queue: asyncio.Queue[Recorded[Any]] = asyncio.Queue(QUEUE_MAX)
        store.on_commit(self._note)
        bus.listen(TaskChanged, self._hear, waiters.wake_all)

    async def run(self) -> None:
        """Broadcast until cancelled."""
        while True:
            recorded = await self._queue.get()
            changed = TaskChanged(task_id=recorded.event.task_id, version=recorded.version)
            await self._bus.broadcast(
                Envelope.of(
                    changed,
                    event_id=recorded.event_id,
                    subject=recorded.stream_id,
                    version=recorded.version,
                    time=recorded.at,
                    correlation_id=recorded.origin.correlation_id,
                    traceparent=recorded.origin.traceparent,
                )
            )

    def _note(self, recorded: Sequence[Recorded[Any]], _: object) -> None:
        for item in {item.stream_id: item for item in recorded}.values():
            if not self._queue.full():
                self._queue.put_nowait(item)

    async def _hear(self, envelope: Envelope) -> None:
        self._waiters.changed(TaskChanged.model_validate(envelope.data).task_id)
