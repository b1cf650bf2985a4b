"""What is without the other is found in both directions, and nothing else is."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from kernel.clock import new_id
from services.storage.adapters import orphans
from services.storage.adapters.orphans import UNHEARD_CLAIM, YOUNG, Kind, Orphans
from services.storage.adapters.sweeping import Sweeping, swept
from services.storage.domain import (
    OUTPUTS,
    RefuseOutput,
    output_key,
    stream_of,
    thumbnail_key,
    upload_key,
    upload_thumbnail_key,
)
from tests.kernel.test_telemetry_metrics import value
from tests.storage.keeping import OTHER, PNG, USER, Kept, kept

__all__ = ["kept"]

Found = tuple[str, str, str]
LATER = YOUNG + timedelta(minutes=1)


async def found(kept: Kept) -> list[Found]:
    """What a look finds an hour later, in order."""
    kept.clock.turn(LATER)
    look = Orphans(kept.database, kept.objects, kept.clock)
    return sorted([(one.kind, one.fault, one.name) async for one in look.found()])


async def test_what_is_whole_has_no_findings(kept: Kept) -> None:
    await kept.upload()
    await kept.output()
    await kept.upload(OTHER)
    assert await found(kept) == []


async def test_nothing_at_all_is_whole(kept: Kept) -> None:
    assert await found(kept) == []


@pytest.mark.parametrize(
    "key",
    [
        upload_key(UUID(int=7), PNG),
        upload_thumbnail_key(UUID(int=7)),
        f"staging/{UUID(int=7).hex}.png",
        output_key(USER, UUID(int=7), 2, PNG),
        thumbnail_key(UUID(int=7), 2),
        "images/stray.png",
        "videos/generated/not-an-id/x.mp4",
        "uploads/../uploads".replace("/..", "") + "/deep/er.txt",
    ],
)
async def test_an_object_that_no_row_names_is_found(kept: Kept, key: str) -> None:
    await kept.objects.put_bytes(key, b"lost")
    assert await found(kept) == [("object", "no_row_names_it", key)]


async def test_what_others_keep_in_the_store_is_not_looked_at(kept: Kept) -> None:
    for key in ("images/gallery/1/large.png", "audit/seals/1.txt", "ledger/heads/1.txt"):
        await kept.objects.put_bytes(key, b"theirs")
    assert await found(kept) == []


async def test_a_young_object_may_be_on_its_way(kept: Kept) -> None:
    await kept.objects.put_bytes("uploads/young.png", b"new")
    look = Orphans(kept.database, kept.objects, kept.clock)
    assert [one async for one in look.found()] == []


async def upload_on_its_way(kept: Kept) -> str:
    upload = await kept.begin()
    await kept.objects.put_bytes(upload_thumbnail_key(upload.upload_id), b"small")
    return upload.key


async def staged(kept: Kept) -> str:
    upload = await kept.begin(link_s=600)
    assert upload.staging_key is not None
    return upload.staging_key


async def output_on_its_way(kept: Kept) -> str:
    task_id = await kept.expect()
    await kept.objects.put_bytes(thumbnail_key(task_id, 0), b"small")
    return output_key(USER, task_id, 0, PNG)


async def to_be_deleted(kept: Kept) -> str:
    key = upload_key(new_id(), PNG)
    await kept.run("INSERT INTO storage.unwanted_objects VALUES ($1, $2)", key, kept.clock.now())
    return key


async def unheard_claim(_: Kept) -> str:
    return f"claims/{new_id()}"


async def claim(kept: Kept, state: str) -> str:
    key = f"claims/{new_id()}"
    await kept.run(
        "INSERT INTO storage.output_fetches (task_id, output_index, user_id, url, object_key,"
        " task_type, state, next_try_at, request_id, created_at)"
        " VALUES ($1, 0, $2, '', $3, 'image', $4, $5, 'r', $5)",
        *(new_id(), USER, key, state, kept.clock.now()),
    )
    return key


async def waiting_claim(kept: Kept) -> str:
    return await claim(kept, "waiting")


async def done_claim(kept: Kept) -> str:
    return await claim(kept, "done")


@pytest.mark.parametrize(
    "named",
    [upload_on_its_way, staged, output_on_its_way, to_be_deleted, unheard_claim, waiting_claim],
)
async def test_an_object_whose_row_is_open_is_no_orphan(
    kept: Kept, named: Callable[[Kept], Awaitable[str]]
) -> None:
    await kept.objects.put_bytes(await named(kept), b"x")
    assert await found(kept) == []


async def test_what_generation_left_is_an_orphan_once_it_was_taken_in(kept: Kept) -> None:
    key = await done_claim(kept)
    await kept.objects.put_bytes(key, b"x")
    assert await found(kept) == [("object", "no_row_names_it", key)]


async def test_what_generation_left_is_an_orphan_when_nobody_ever_spoke_of_it(kept: Kept) -> None:
    key = await unheard_claim(kept)
    await kept.objects.put_bytes(key, b"x")
    kept.clock.turn(UNHEARD_CLAIM)
    assert await found(kept) == [("object", "no_row_names_it", key)]


async def test_what_a_deletion_left_in_the_store_is_found(kept: Kept) -> None:
    upload, task = await kept.upload(), await kept.output()
    await kept.drop_upload(upload)
    await kept.drop_output(task)
    assert [name for _, _, name in await found(kept)] == sorted(
        [
            upload_key(upload, PNG),
            upload_thumbnail_key(upload),
            output_key(USER, task, 0, PNG),
            thumbnail_key(task, 0),
        ]
    )


async def test_what_a_rejected_output_left_is_found(kept: Kept) -> None:
    task = await kept.expect()
    key = output_key(USER, task, 0, PNG)
    await kept.objects.put_bytes(key, b"half")
    await kept.store.handle(OUTPUTS, stream_of(task, 0), RefuseOutput("storage_failed", "No."))
    assert await found(kept) == [("object", "no_row_names_it", key)]


async def test_an_output_that_came_twice_as_other_types_is_kept_as_one(kept: Kept) -> None:
    task = await kept.output()
    other = output_key(USER, task, 0, "image/jpeg")
    await kept.objects.put_bytes(other, b"the first try")
    assert await found(kept) == [("object", "no_row_names_it", other)]


async def test_a_file_without_its_object_is_found(kept: Kept) -> None:
    upload = await kept.upload()
    await kept.objects.delete(upload_key(upload, PNG))
    assert await found(kept) == [("row", "no_object", upload_key(upload, PNG))]


async def test_a_file_whose_object_has_another_size_is_found(kept: Kept) -> None:
    upload = await kept.upload(size=100)
    await kept.objects.put_bytes(upload_key(upload, PNG), bytes(99))
    assert await found(kept) == [("row", "other_size", upload_key(upload, PNG))]


async def test_a_file_without_its_thumbnail_is_found(kept: Kept) -> None:
    upload = await kept.upload()
    await kept.objects.delete(upload_thumbnail_key(upload))
    assert await found(kept) == [("row", "no_thumbnail", upload_thumbnail_key(upload))]


async def test_a_file_that_came_during_the_look_is_no_finding(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = kept.objects.listed

    async def meanwhile(prefix: str) -> Any:
        async for each in listed(prefix):
            yield each
        if prefix == "claims/":  # all folders were listed
            await kept.upload()

    monkeypatch.setattr(kept.objects, "listed", meanwhile)
    assert await found(kept) == []


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("used_bytes", "drift of used_bytes +7"),
        ("files", "drift of files +7"),
        ("reserved_bytes", "drift of reserved_bytes +7"),
    ],
)
async def test_a_room_that_is_not_what_lies_in_it_is_found(
    kept: Kept, column: str, words: str
) -> None:
    await kept.upload()
    await kept.upload(OTHER)
    await kept.begin()
    await kept.run(f"UPDATE storage.quotas SET {column} = {column} + 7 WHERE user_id = $1", USER)
    assert await found(kept) == [("quota", words, str(USER))]


async def test_files_whose_room_has_no_record_are_found(kept: Kept) -> None:
    await kept.upload(size=100)
    await kept.run("DELETE FROM storage.quotas")
    assert await found(kept) == [("quota", "drift of used_bytes -100, files -1", str(USER))]


async def test_any_number_is_looked_at_a_few_at_a_time(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "BATCH", 2)
    for number in range(5):
        await kept.upload(UUID(int=number + 1))
    lost = [upload_key(new_id(), PNG) for _ in range(5)]
    for key in lost:
        await kept.objects.put_bytes(key, b"lost")
    assert [name for _, _, name in await found(kept)] == sorted(lost)


async def test_the_sweep_says_what_it_finds_and_deletes_nothing_unless_it_is_told_to(
    kept: Kept,
) -> None:
    await kept.objects.put_bytes("uploads/lost.png", b"lost")
    kept.clock.turn(LATER)
    said: list[str] = []
    look = Orphans(kept.database, kept.objects, kept.clock)
    status, summary = await swept(look, said.append)
    assert status == 1
    assert said == ["sweep: object: no_row_names_it: uploads/lost.png (4 bytes)"]
    assert summary == "sweep: 1 findings: 1 objects, 0 files, 0 users"
    assert kept.names() == ["uploads/lost.png"]


async def test_objects_without_a_row_are_deleted_and_rows_without_object_are_only_said(
    kept: Kept,
) -> None:
    upload = await kept.upload()
    await kept.objects.delete(upload_key(upload, PNG))
    await kept.objects.put_bytes("uploads/lost.png", b"lost")
    kept.clock.turn(LATER)
    said: list[str] = []
    look = Orphans(kept.database, kept.objects, kept.clock)
    status, summary = await swept(look, said.append, kept.objects.delete)
    assert status == 1
    assert [line.split(": ")[1] for line in said] == ["deleted", "row"]
    assert "1 findings: 1 objects deleted" in summary
    assert kept.names() == [upload_thumbnail_key(upload)]
    assert len(await kept.rows("SELECT FROM storage_read.files")) == 1


async def test_after_its_deletions_all_is_whole(kept: Kept) -> None:
    await kept.upload()
    await kept.objects.put_bytes("uploads/lost.png", b"lost")
    kept.clock.turn(LATER)
    look = Orphans(kept.database, kept.objects, kept.clock)
    status, summary = await swept(look, list[str]().append, kept.objects.delete)
    assert (status, summary) == (0, "sweep: whole: 1 objects deleted, 3 objects, 1 files, 1 users")
    assert await found(kept) == []


async def test_the_daily_look_shows_how_many_there_are_and_deletes_none(kept: Kept) -> None:
    upload = await kept.upload()
    await kept.objects.delete(upload_key(upload, PNG))
    for name in ("one", "two"):
        await kept.objects.put_bytes(f"uploads/{name}.png", b"lost")
    kept.clock.turn(LATER)
    before = kept.names()
    daily = Sweeping(kept.database, kept.objects, kept.clock)
    await daily.look()
    kept.clock.turn(timedelta(seconds=90))
    await daily.show()
    shown = {
        kind.value: value("smartspec_storage_orphans", service="storage", type=kind.value)
        for kind in Kind
    }
    assert shown == {"object": 2, "row": 1, "quota": 0}
    assert value("smartspec_storage_orphans_age_seconds", service="storage") == 90
    assert kept.names() == before
