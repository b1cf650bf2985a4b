"""Deletes the outputs of a task that its user has removed: objects first, then what names them.

As in `erasing`, what a worker has in hand is left to it, and what is announced after the removal is
refused by the worker: the words of generation may come in any order.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.event_store import EventStore
from kernel.objects import ObjectStore
from services.storage.adapters.due_list import DueList
from services.storage.adapters.erasing import erase_output
from services.storage.domain import DELETED

BATCH: Final = 16
"""A task has fewer outputs."""
LOOK_AGAIN_S: Final = 2.0
TASK: Final = "task_id"


class Removing:
    """The steps of the table `removals`, of which no row is ever deleted."""

    def __init__(self, store: EventStore, objects: ObjectStore) -> None:
        self._store = store
        self._due = DueList(store.database)
        self._objects = objects

    async def remove(self, task_id: UUID, _: datetime) -> float | None:
        """Some outputs of the task, until there is none."""
        ended = await self._due.ended_of(task_id, BATCH, by=TASK)
        for fetch in ended:
            await erase_output(self._store, self._objects, fetch, DELETED)
        await self._due.hasten(task_id, self._store.clock.now(), BATCH, by=TASK)
        return LOOK_AGAIN_S if await self._due.has_any_of(task_id, by=TASK) else None
