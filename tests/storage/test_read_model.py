from dataclasses import asdict
from datetime import timedelta
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
    UPLOAD,
    UPLOADS,
    BeginUpload,
    DeleteUpload,
    EraseOutput,
    ExpectOutput,
    KeepOutput,
    KeepUpload,
    RefuseOutput,
    StoredFile,
    output_key,
    stream_of,
    thumbnail_key,
    upload_key,
)
from services.storage.read_model import (
    READ_MODEL,
    File,
    TypeTotal,
    Wished,
    by_type,
    file_of,
    files_of,
    lain,
    project,
    sha256_of,
)

AGGREGATES = (OUTPUT, UPLOAD)

USER, ACCOUNT = UUID(int=0xB2), UUID(int=0xC3)


@pytest.fixture
async def store(database: Database, clock: FakeClock) -> EventStore:
    async with database.connection() as connection:
        await ensure(connection, READ_MODEL)
    return EventStore(database, "storage", AGGREGATES, clock=clock, project=project)


def expected(task_id: UUID, index: int) -> ExpectOutput:
    return ExpectOutput(task_id, USER, index, "image", 4, 3, account_id=ACCOUNT)


async def upload(store: EventStore, mime_type: str = "text/plain", size: int = 7) -> StoredFile:
    upload_id = new_id()
    stream_id = UPLOAD.stream_id(upload_id)
    file = StoredFile(
        key=upload_key(upload_id, mime_type),
        mime_type=mime_type,
        size=size,
        sha256=upload_id.hex * 2,
        width=None,
        height=None,
        duration_seconds=None,
        thumbnail_key=None,
    )
    await store.handle(UPLOADS, stream_id, BeginUpload(upload_id, USER, ACCOUNT, size))
    await store.handle(UPLOADS, stream_id, KeepUpload(file))
    return file


async def delete(store: EventStore, file: StoredFile) -> None:
    found = await file_of(store.database, USER, file.key)
    assert found is not None
    await store.handle(UPLOADS, UPLOAD.stream_id(found.upload_id), DeleteUpload("deleted"))


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
    await store.handle(OUTPUTS, stream_id, expected(task_id, index))
    await store.handle(OUTPUTS, stream_id, KeepOutput(file))
    return file


async def rows(database: Database) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT * FROM storage_read.files ORDER BY key")
    return [tuple(row) for row in found]


async def stays(database: Database) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT * FROM storage_read.stays ORDER BY key")
    return [tuple(row) for row in found]


async def test_a_stored_output_is_a_file_with_its_facts(
    store: EventStore, clock: FakeClock
) -> None:
    task_id = new_id()

    file = await keep(store, task_id, 1)

    assert await file_of(store.database, USER, file.key) == File(
        key=file.key,
        kind="output",
        user_id=USER,
        account_id=ACCOUNT,
        task_id=task_id,
        output_index=1,
        upload_id=None,
        mime_type="image/png",
        size=10,
        sha256=file.sha256,
        facts=asdict(file),
        created_at=clock.now(),
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
    await delete(store, await upload(store))
    before = await rows(store.database)
    stays_before = await stays(store.database)
    async with store.database.connection() as connection:
        await connection.execute("DELETE FROM storage_read.files")
        await connection.execute("DELETE FROM storage_read.stays")

    assert await rebuild(store.database, "storage", READ_MODEL, AGGREGATES) == 9

    assert await rows(store.database) == before
    assert await stays(store.database) == stays_before
    assert (len(before), len(stays_before)) == (3, 4)
    assert await verify(store.database, "storage", AGGREGATES) == []


async def test_a_deleted_file_is_listed_no_more(store: EventStore) -> None:
    file, other = await upload(store), await upload(store)

    await delete(store, file)

    assert [row.key for row in await files_of(store.database, USER, Wished(), 10)] == [other.key]


async def test_anothers_file_is_not_there(store: EventStore) -> None:
    file = await upload(store)

    assert await file_of(store.database, UUID(int=1), file.key) is None
    assert await files_of(store.database, UUID(int=1), Wished(), 10) == []


async def test_files_come_newest_first_page_by_page(store: EventStore, clock: FakeClock) -> None:
    made = []
    for _ in range(3):
        made += [await upload(store), await keep(store, new_id())]
        clock.turn(timedelta(seconds=1))
    seen: list[File] = []

    while page := await files_of(
        store.database,
        USER,
        Wished(after=(seen[-1].created_at, seen[-1].key) if seen else None),
        2,
    ):
        seen.extend(page)

    assert {file.key for file in seen} == {file.key for file in made}
    assert len(seen) == len(made)
    order = [(file.created_at, file.key) for file in seen]
    assert order == sorted(order, reverse=True)


async def test_files_are_listed_by_kind_type_and_prefix(store: EventStore) -> None:
    picture, text = await keep(store, new_id()), await upload(store)

    async def found(wished: Wished) -> list[str]:
        return [file.key for file in await files_of(store.database, USER, wished, 10)]

    assert await found(Wished(kind="output")) == [picture.key]
    assert await found(Wished(kind="upload")) == [text.key]
    assert await found(Wished(mime_type="image/png")) == [picture.key]
    assert await found(Wished(prefix="uploads/")) == [text.key]
    assert await found(Wished(prefix="upload%")) == []


async def test_what_there_is_is_told_by_type(store: EventStore) -> None:
    for _ in range(2):
        await upload(store)
    await keep(store, new_id())

    assert await by_type(store.database, USER) == [
        TypeTotal("image/png", 1, 10),
        TypeTotal("text/plain", 2, 14),
    ]


async def test_byte_hours_are_of_the_time_that_a_file_lay_in(
    store: EventStore, clock: FakeClock
) -> None:
    start = clock.now()
    file = await upload(store, size=3_600)
    clock.turn(timedelta(hours=2))
    await delete(store, file)
    clock.turn(timedelta(hours=1))
    stays_on = await upload(store, size=7_200)
    end = clock.now() + timedelta(seconds=1)

    (whole,) = await lain(store.database, start, end)
    (middle,) = await lain(store.database, start + timedelta(minutes=90), end)

    assert (whole.user_id, whole.account_id) == (USER, ACCOUNT)
    assert whole.byte_hours == 2 * 3_600 + 2
    assert middle.byte_hours == 1_800 + 2
    assert await lain(store.database, start, end, UUID(int=1)) == []
    assert stays_on.size == 7_200


async def test_an_erased_output_has_lain_until_then(store: EventStore, clock: FakeClock) -> None:
    task_id, start = new_id(), clock.now()
    await keep(store, task_id)
    clock.turn(timedelta(hours=3))
    await store.handle(OUTPUTS, stream_of(task_id, 0), EraseOutput())
    clock.turn(timedelta(hours=3))

    (it,) = await lain(store.database, start, clock.now())

    assert it.byte_hours == 30
