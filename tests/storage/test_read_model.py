from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.projections import ensure, rebuild, verify
from kernel.sql import Database
from kernel.testing import FakeClock
from services.storage.domain import (
    OUTPUT,
    OUTPUTS,
    ExpectOutput,
    KeepOutput,
    RefuseOutput,
    StoredFile,
    output_key,
    stream_of,
    thumbnail_key,
)
from services.storage.read_model import READ_MODEL, project, sha256_of

USER = UUID(int=0xB2)


@pytest.fixture
async def store(database: Database, clock: FakeClock) -> EventStore:
    async with database.connection() as connection:
        await ensure(connection, READ_MODEL)
    return EventStore(database, "storage", [OUTPUT], clock=clock, project=project)


async def keep(store: EventStore, task_id: UUID, index: int = 0) -> StoredFile:
    stream_id = stream_of(task_id, index)
    file = StoredFile(
        key=output_key(USER, task_id, index, "image/png"),
        mime_type="image/png",
        size=10,
        sha256=task_id.hex * 2,
        width=4,
        height=3,
        duration_seconds=None,
        thumbnail_key=thumbnail_key(task_id, index),
    )
    await store.handle(OUTPUTS, stream_id, ExpectOutput(task_id, USER, index, "image", 4, 3))
    await store.handle(OUTPUTS, stream_id, KeepOutput(file))
    return file


async def rows(database: Database) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT * FROM storage_read.files ORDER BY key")
    return [tuple(row) for row in found]


async def test_a_stored_output_is_a_file_with_its_facts(
    store: EventStore, clock: FakeClock
) -> None:
    task_id = new_id()

    file = await keep(store, task_id, 1)

    (row,) = await rows(store.database)
    assert row == (
        *(file.key, USER, task_id, 1, "image/png", 10, file.sha256, 4, 3, file.thumbnail_key),
        clock.now(),
    )


async def test_a_rejected_output_is_no_file(store: EventStore) -> None:
    task_id = new_id()
    stream_id = stream_of(task_id, 0)
    await store.handle(OUTPUTS, stream_id, ExpectOutput(task_id, USER, 0, "image", 4, 3))

    await store.handle(OUTPUTS, stream_id, RefuseOutput("timeout", "Too slow."))

    assert await rows(store.database) == []


async def test_the_hash_of_a_file_is_found_by_its_key(store: EventStore) -> None:
    file = await keep(store, new_id())

    assert await sha256_of(store.database, file.key) == file.sha256


async def test_a_thumbnail_has_no_hash_on_record(store: EventStore) -> None:
    file = await keep(store, new_id())

    assert file.thumbnail_key is not None
    assert await sha256_of(store.database, file.thumbnail_key) is None


async def test_rebuilding_from_the_events_gives_the_same_rows(store: EventStore) -> None:
    task_id = new_id()
    for index in range(3):
        await keep(store, task_id, index)
    before = await rows(store.database)
    async with store.database.connection() as connection:
        await connection.execute("DELETE FROM storage_read.files")

    assert await rebuild(store.database, "storage", READ_MODEL, [OUTPUT]) == 6

    assert await rows(store.database) == before
    assert len(before) == 3
    assert await verify(store.database, "storage", [OUTPUT]) == []
