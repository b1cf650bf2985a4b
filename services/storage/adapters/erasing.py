"""Deletes what storage keeps of a user who has been erased, and has it proven that nothing is left:
objects first, then what names them.

An output that a worker has in hand is left to it, and deleted when it has ended; one that is
announced later is rejected by the worker. An upload on its way is taken away from whoever has it.
The events stay: they hold ids and facts alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from kernel.event_store import EventStore
from kernel.objects import ObjectStore
from kernel.unit import Unit
from services.storage.adapters.deleting import Deleting, KeptFile
from services.storage.adapters.due_list import (
    DueFetch,
    DueList,
    EndedFetch,
    record_forgotten,
)
from services.storage.adapters.proving import Proving
from services.storage.adapters.quotas import record_room
from services.storage.adapters.uploads import LEASE, LINK_GRACE, OpenUpload, OpenUploads
from services.storage.domain import (
    ERASED,
    OUTPUTS,
    EraseOutput,
    output_keys,
    stream_of,
    thumbnail_key,
    upload_thumbnail_key,
)

BATCH: Final = 50
LOOK_AGAIN_S: Final = 2.0
PUT_FOR: Final = 2 * LEASE
"""Who was overtaken puts nothing any more after it."""
ASKED_AFTER: Final = timedelta(seconds=10)
"""When the last deletion of what may have been put late is due, and a little later."""
ERASED_WITHIN: Final = timedelta(hours=2)
"""From the message on: an hour for which a link to put a file may be good, with its grace, and what
one output or one look may take."""

EndUpload = Callable[[OpenUpload, str], Awaitable[None]]
"""`Intake.end`."""

_FILES: Final = """
    SELECT key, user_id, upload_id, task_id, output_index, facts->>'thumbnail_key' AS thumbnail_key
    FROM storage_read.files WHERE user_id = $1 LIMIT $2"""


class Erasing:
    """The steps of the table `erasures`."""

    def __init__(
        self,
        store: EventStore,
        objects: ObjectStore,
        deleting: Deleting,
        end_upload: EndUpload,
    ) -> None:
        self._store = store
        self._due = DueList(store.database)
        self._uploads = OpenUploads(store.database)
        self._objects = objects
        self._deleting = deleting
        self._end_upload = end_upload
        self._proving = Proving(store.database, objects, store.clock)

    async def erase(self, user_id: UUID, _: datetime) -> float | None:
        """Some of what the user has, until there is nothing and that is proven."""
        if await self._erase_outputs(user_id) or await self._end_uploads(user_id):
            return 0
        await self._due.hasten(user_id, self._store.clock.now(), BATCH)
        if await self._due.has_any_of(user_id):
            return LOOK_AGAIN_S
        for step in (self._delete_files, self._proving.take_stays, self._proving.ask):
            if await step(user_id):
                return 0
        return None if await self._proving.prove(user_id) else LOOK_AGAIN_S

    async def _erase_outputs(self, user_id: UUID) -> bool:
        """Whether there are more."""
        ended = await self._due.ended_of(user_id, BATCH)
        now = self._store.clock.now()
        for fetch in ended:
            keys = [thumbnail_key(fetch.task_id, fetch.output_index)]
            if fetch.object_key is not None:
                keys.append(fetch.object_key)
            await self._proving.expect_gone(user_id, keys, now)
            await erase_output(self._store, self._objects, fetch)
        return len(ended) == BATCH

    async def _end_uploads(self, user_id: UUID) -> bool:
        """Whether there are more. Noted before they end, so that none is forgotten."""
        now = self._store.clock.now()
        uploads = await self._uploads.take_away(user_id, now, BATCH)
        for upload in uploads:
            keys = [upload.key, upload_thumbnail_key(upload.upload_id)]
            await self._proving.expect_gone(user_id, keys, now + PUT_FOR + ASKED_AFTER)
            if upload.staging_key is not None:
                until = max(upload.link_until or now, now) + LINK_GRACE + ASKED_AFTER
                await self._proving.expect_gone(user_id, [upload.staging_key], until)
            await self._end_upload(upload, ERASED)
        return len(uploads) == BATCH

    async def _delete_files(self, user_id: UUID) -> bool:
        """Some of what is kept; whether there was any."""
        async with self._store.database.connection() as connection:
            rows: Sequence[Any] = await connection.fetch(_FILES, *(user_id, BATCH))
        for row in rows:
            await self._deleting.delete(KeptFile(**row), ERASED)
        return bool(rows)


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
