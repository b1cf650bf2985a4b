"""Deletes one file for good, an upload or an output: told first, then its objects go."""

from dataclasses import dataclass
from uuid import UUID

from kernel.event_store import EventStore
from kernel.unit import Unit
from services.storage.adapters.due_list import EndedFetch, record_forgotten
from services.storage.adapters.quotas import record_room
from services.storage.adapters.unwanted import Unwanted, record_unwanted
from services.storage.domain import (
    OUTPUTS,
    UPLOAD,
    UPLOADS,
    DeleteUpload,
    EraseOutput,
    stream_of,
)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """An upload by its id, or an output by its task and index."""

    user_id: UUID
    key: str
    thumbnail_key: str | None
    upload_id: UUID | None
    task_id: UUID | None
    output_index: int | None


class Deleting:
    """`unwanted` does what a crash leaves undone."""

    def __init__(self, store: EventStore, unwanted: Unwanted) -> None:
        self._store = store
        self._unwanted = unwanted

    async def delete(self, file: KeptFile, reason: str) -> bool:
        """False when somebody was faster."""
        keys = [key for key in (file.key, file.thumbnail_key) if key is not None]

        async def work(unit: Unit) -> bool:
            if file.upload_id is not None:
                stream_id = UPLOAD.stream_id(file.upload_id)
                uploads = await unit.decide(UPLOADS, stream_id, DeleteUpload(reason))
                record_room(unit, uploads)
                is_deleted = bool(uploads)
            else:
                is_deleted = await _erase_output(unit, file, reason)
            if is_deleted:
                record_unwanted(unit, keys)
            return is_deleted

        is_deleted = await self._store.transact(work)
        if is_deleted:
            await self._unwanted.delete_now(keys)
        return is_deleted


async def _erase_output(unit: Unit, file: KeptFile, reason: str) -> bool:
    assert file.task_id is not None
    assert file.output_index is not None
    stream_id = stream_of(file.task_id, file.output_index)
    recorded = await unit.decide(OUTPUTS, stream_id, EraseOutput(reason))
    record_room(unit, recorded)
    record_forgotten(unit, EndedFetch(file.task_id, file.output_index, file.user_id, None))
    return bool(recorded)
