"""The record of each user's room is exact, however much comes at once."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from services.storage.adapters.quotas import GUARDED_TABLE, Room, record_room, room_of
from services.storage.domain import (
    OUTPUT,
    UPLOAD,
    UPLOADS,
    BeginUpload,
    DeleteUpload,
    EndUpload,
    KeepUpload,
    StoredFile,
    UploadCommand,
    upload_key,
)

USER = UUID(int=0xB2)


@pytest.fixture
def store(database: Database, clock: FakeClock) -> EventStore:
    return EventStore(database, "storage", [OUTPUT, UPLOAD], clock=clock)


def kept(upload_id: UUID, size: int) -> KeepUpload:
    key = upload_key(upload_id, "text/plain")
    return KeepUpload(StoredFile(key, "text/plain", size, "ab" * 32, None, None, None, None))


async def do(
    store: EventStore, upload_id: UUID, command: UploadCommand, quota: int | None = None
) -> bool:
    """Whether there was room for it."""

    async def work(unit: Unit) -> None:
        recorded = await unit.decide(UPLOADS, UPLOAD.stream_id(upload_id), command)
        record_room(unit, recorded, quota)

    try:
        await store.transact(work)
    except asyncpg.NotNullViolationError as error:
        if error.table_name != GUARDED_TABLE:
            raise
        return False
    return True


def begin(upload_id: UUID, size: int) -> BeginUpload:
    return BeginUpload(upload_id, USER, USER, size)


async def test_what_is_begun_is_reserved_and_what_is_kept_is_used(store: EventStore) -> None:
    upload_id = new_id()

    assert await do(store, upload_id, begin(upload_id, 100), 100)
    assert await room_of(store.database, USER) == Room(0, 0, 100)
    assert await do(store, upload_id, kept(upload_id, 70), 100)
    assert await room_of(store.database, USER) == Room(70, 1, 0)
    assert await do(store, upload_id, DeleteUpload("deleted"))
    assert await room_of(store.database, USER) == Room(0, 0, 0)


async def test_what_has_ended_gives_its_room_back(store: EventStore) -> None:
    upload_id = new_id()
    await do(store, upload_id, begin(upload_id, 100), 100)

    await do(store, upload_id, EndUpload("expired"))
    await do(store, upload_id, EndUpload("expired"))

    assert await room_of(store.database, USER) == Room()


async def test_fifty_at_once_into_room_for_ten_are_exactly_ten(store: EventStore) -> None:
    ids = [new_id() for _ in range(50)]

    there_was_room = await asyncio.gather(
        *(do(store, upload_id, begin(upload_id, 10), 100) for upload_id in ids)
    )

    assert sum(there_was_room) == 10
    assert await room_of(store.database, USER) == Room(0, 0, 100)


async def test_the_first_file_is_refused_when_it_is_larger_than_the_quota(
    store: EventStore,
) -> None:
    upload_id = new_id()

    assert not await do(store, upload_id, begin(upload_id, 101), 100)
    assert await room_of(store.database, USER) == Room()


async def test_a_file_that_became_smaller_is_kept_though_the_quota_shrank(
    store: EventStore,
) -> None:
    upload_id = new_id()
    await do(store, upload_id, begin(upload_id, 100), 100)

    assert await do(store, upload_id, kept(upload_id, 90), 50)


async def test_a_file_that_became_larger_needs_room_for_the_rest(store: EventStore) -> None:
    upload_id = new_id()
    await do(store, upload_id, begin(upload_id, 100), 100)

    assert not await do(store, upload_id, kept(upload_id, 101), 100)
    assert await do(store, upload_id, kept(upload_id, 101), 101)
