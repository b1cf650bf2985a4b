"""A user's own uploads as pictures to begin with: whose they are, storage's events alone say."""

from uuid import UUID

import pytest

from contracts.envelope import PublicEvent
from contracts.keys import UserErased
from contracts.storage import FileDeleted, FileUploaded
from kernel.clock import new_id
from kernel.errors import Invalid
from kernel.http import Identity
from kernel.testing import envelope_of
from services.generation.adapters import input_images, uploaded_files
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.leaving import Leaving
from services.generation.adapters.uploaded_files import UploadedFile, UploadedFiles
from services.generation.domain.input_images import BYTES_MAX, check_input_image, check_upload
from tests.generation.conftest import FILE, Bench, Generation, person
from tests.generation.played_vendors import PICTURE

OTHER = UUID(int=2)


def key_of(extension: str = "png") -> str:
    return f"uploads/{new_id().hex}.{extension}"


def uploaded(user_id: UUID, key: str, size: int = 1_000, safety: str = "allow") -> FileUploaded:
    file = FILE.model_copy(update={"key": key, "size": size, "safety": safety})
    return FileUploaded(upload_id=new_id(), user_id=user_id, account_id=user_id, file=file)


def deleted(user_id: UUID, key: str) -> FileDeleted:
    return FileDeleted(user_id=user_id, account_id=user_id, key=key, size=1_000, reason="deleted")


async def hear(bench: Bench, *events: PublicEvent) -> None:
    assert bench.service.inbox is not None
    for event in events:
        await bench.service.inbox.receive(envelope_of(event))


async def known(bench: Bench, key: str, user_id: UUID | None = None) -> UploadedFile | None:
    return await UploadedFiles(bench.platform.database).find(user_id or bench.user_id, key)


def unhurried(bench: Bench) -> InputImages:
    """Waits for no event."""
    uploads = UploadedFiles(bench.platform.database, tries_after_s=())
    return InputImages(bench.objects, bench.jobs._requests.input_images._outbound, uploads)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_the_form_of_an_uploaded_pictures_key_is_taken_from_anybody(extension: str) -> None:
    check_input_image(key_of(extension), OTHER)


def test_an_upload_is_taken_up_to_its_largest_size() -> None:
    check_upload(BYTES_MAX)
    with pytest.raises(Invalid, match="at most"):
        check_upload(BYTES_MAX + 1)


def test_no_upload_is_refused_in_the_words_for_a_strangers_picture() -> None:
    with pytest.raises(Invalid) as strangers:
        check_input_image(f"images/generated/{OTHER.hex}/t.png", UUID(int=1))
    with pytest.raises(Invalid) as nothing:
        check_upload(None)
    assert (str(nothing.value), nothing.value.details) == (
        str(strangers.value),
        strangers.value.details,
    )


async def test_an_upload_is_its_users_and_no_strangers(bench: Bench) -> None:
    key = key_of()
    await hear(bench, uploaded(bench.user_id, key))
    assert await known(bench, key) == UploadedFile("image/png", 1_000)
    assert await known(bench, key, OTHER) is None


async def test_what_is_to_be_reviewed_is_known_too(bench: Bench) -> None:
    key = key_of()
    await hear(bench, uploaded(bench.user_id, key, safety="review"))
    assert await known(bench, key) is not None


@pytest.mark.parametrize("key", ["uploads/" + "a" * 32 + ".pdf", "images/generated/u/t.png"])
async def test_only_uploaded_pictures_are_kept_in_mind(bench: Bench, key: str) -> None:
    await hear(bench, uploaded(bench.user_id, key), deleted(bench.user_id, key))
    assert await bench.rows("SELECT 1 FROM generation.uploaded_files") == []


async def test_a_deleted_upload_is_nobodys_in_whatever_order_it_is_heard(bench: Bench) -> None:
    for backwards in (False, True):
        key = key_of()
        events = (uploaded(bench.user_id, key), deleted(bench.user_id, key))
        await hear(bench, *(reversed(events) if backwards else events))
        assert await known(bench, key) is None


async def test_repeats_change_nothing(bench: Bench) -> None:
    key = key_of()
    upload, deletion = uploaded(bench.user_id, key), deleted(bench.user_id, key)
    await hear(bench, upload, upload)
    assert await known(bench, key) is not None
    await hear(bench, deletion, deletion, upload)
    assert await known(bench, key) is None


async def test_of_a_deleted_upload_its_key_alone_is_left_and_not_for_ever(
    bench: Bench,
) -> None:
    old, new = key_of(), key_of()
    await hear(bench, uploaded(bench.user_id, old), deleted(bench.user_id, old))
    [row] = await bench.rows("SELECT * FROM generation.uploaded_files")
    assert {name for name, value in row.items() if value is not None} == {"key", "deleted_at"}
    await bench.rows(
        "UPDATE generation.uploaded_files SET deleted_at = $1",
        bench.clock.now() - uploaded_files.DELETED_KEPT_FOR * 2,
    )
    await hear(bench, deleted(bench.user_id, new))
    rows = await bench.rows("SELECT key FROM generation.uploaded_files")
    assert [row["key"] for row in rows] == [new]


async def test_an_erased_users_uploads_go_and_none_comes_later(bench: Bench) -> None:
    assert bench.service.store is not None
    kept = key_of()
    await hear(bench, uploaded(bench.user_id, key_of()), uploaded(OTHER, kept))
    now, mine = bench.clock.now(), bench.user_id
    await hear(bench, UserErased(user_id=mine, account_id=mine, erased_at=now))
    leaving = Leaving(bench.service.store)
    while await leaving.erase(bench.user_id, bench.clock.now()) is not None:
        pass
    await hear(bench, uploaded(bench.user_id, key_of()))
    rows = await bench.rows("SELECT key FROM generation.uploaded_files")
    assert [row["key"] for row in rows] == [kept]


async def test_reads_an_own_upload_and_no_strangers(bench: Bench) -> None:
    key, images = key_of(), unhurried(bench)
    await bench.objects.put_bytes(key, PICTURE.content)
    assert await images.read(bench.user_id, key) == input_images.NOT_THERE
    await hear(bench, uploaded(bench.user_id, key))
    assert await images.read(bench.user_id, key) == PICTURE
    assert await images.read(OTHER, key) == input_images.NOT_THERE


async def test_a_strangers_an_unknown_and_a_deleted_upload_get_one_answer(bench: Bench) -> None:
    strangers, unknown, gone = key_of(), key_of(), key_of()
    await hear(bench, uploaded(OTHER, strangers))
    await hear(bench, uploaded(bench.user_id, gone), deleted(bench.user_id, gone))
    told = set()
    for key in (strangers, unknown, gone, f"images/generated/{OTHER.hex}/t.png"):
        with pytest.raises(Invalid) as refusal:
            await unhurried(bench).check(bench.user_id, key)
        told.add((str(refusal.value), str(refusal.value.details)))
    assert len(told) == 1


async def test_an_upload_that_is_not_heard_of_yet_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, waits = key_of(), list[float]()

    async def comes_meanwhile(delay_s: float) -> None:
        waits.append(delay_s)
        await hear(bench, uploaded(bench.user_id, key))

    uploads = UploadedFiles(bench.platform.database, tries_after_s=(1.0, 2.0))
    with monkeypatch.context() as patch:
        patch.setattr(uploaded_files, "sleep", comes_meanwhile)
        assert await uploads.heard_of(bench.user_id, key) is not None
    assert waits == [1.0]


async def test_a_task_whose_upload_is_deleted_meanwhile_asks_no_vendor(bench: Bench) -> None:
    key = key_of()
    await bench.objects.put_bytes(key, PICTURE.content)
    await hear(bench, uploaded(bench.user_id, key))
    task = await bench.task(input_image=key)
    await hear(bench, deleted(bench.user_id, key))
    await bench.attend()
    assert "invalid_input_image" in str((await bench.events(task))[-1])
    assert bench.provider.asked == []


async def test_a_vendor_is_given_the_uploaded_picture(bench: Bench) -> None:
    key = key_of()
    await bench.objects.put_bytes(key, PICTURE.content)
    await hear(bench, uploaded(bench.user_id, key))
    await bench.task(input_image=key)
    await bench.attend()
    [job] = bench.provider.asked
    assert job.input_image == PICTURE


async def test_a_request_begins_with_its_callers_own_upload_only(generation: Generation) -> None:
    me, other, key = person(), person(), key_of()
    assert generation.service.inbox is not None
    await generation.service.inbox.receive(envelope_of(uploaded(me.user_id, key)))

    async def answered(caller: Identity) -> tuple[int, str]:
        answer = await generation.create(
            caller, model_id="nano-banana-pro", options={"input_image": key}
        )
        return answer.status_code, answer.json().get("details", {}).get("field", "")

    assert await answered(me) == (201, "")
    assert await answered(other) == (422, "options.input_image")
