"""Deletes what storage keeps of a user who has been erased: objects first, then what names them.

An output that a worker has in hand is left to it, and deleted when it has ended; one that is
announced later is rejected by the worker. The events stay: they hold ids and facts alone.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.event_store import EventStore
from kernel.objects import ObjectStore
from kernel.unit import Unit
from services.storage.adapters.due_list import (
    DueFetch,
    DueList,
    EndedFetch,
    record_forgotten,
)
from services.storage.adapters.quotas import record_room
from services.storage.domain import (
    ERASED,
    OUTPUTS,
    EraseOutput,
    output_keys,
    stream_of,
    thumbnail_key,
)

BATCH: Final = 50
LOOK_AGAIN_S: Final = 2.0


class Erasing:
    """The steps of the table `erasures`."""

    def __init__(self, store: EventStore, objects: ObjectStore) -> None:
        self._store = store
        self._due = DueList(store.database)
        self._objects = objects

    async def erase(self, user_id: UUID, _: datetime) -> float | None:
        """Some outputs of the user, until there is none."""
        ended = await self._due.ended_of(user_id, BATCH)
        for fetch in ended:
            await erase_output(self._store, self._objects, fetch)
        if len(ended) == BATCH:
            return 0
        await self._due.hasten(user_id, self._store.clock.now(), BATCH)
        return LOOK_AGAIN_S if await self._due.has_any_of(user_id) else None


async def erase_output(
    store: EventStore, objects: ObjectStore, fetch: EndedFetch, reason: str = ERASED
) -> None:
    """What is stored of it, then what names it."""
    await delete_objects(objects, fetch)

    async def work(unit: Unit) -> None:
        stream_id = stream_of(fetch.task_id, fetch.output_index)
        recorded = await unit.decide(OUTPUTS, stream_id, EraseOutput(reason))
        record_room(unit, recorded)
        record_forgotten(unit, fetch)

    await store.transact(work)


async def delete_objects(objects: ObjectStore, fetch: DueFetch | EndedFetch) -> None:
    """All that may be there of the output, whoever put it there and died before he said so."""
    task_id, index = fetch.task_id, fetch.output_index
    for key in (*output_keys(fetch.user_id, task_id, index), thumbnail_key(task_id, index)):
        await objects.delete(key)
    if fetch.object_key is not None:
        await objects.delete(fetch.object_key)
