"""An upload's rules, and what they take and give back of a user's room."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import NotFound, Rejected
from kernel.testing import Spec
from services.storage.domain import (
    UPLOAD,
    UPLOADS,
    BeginUpload,
    DeleteUpload,
    EndUpload,
    FileDeleted,
    FileUploaded,
    KeepUpload,
    Quotas,
    StoredFile,
    UploadBegun,
    UploadCommand,
    UploadEnded,
    UploadEvent,
    UploadStatus,
    decide_upload,
    room_change,
    staging_key,
    upload_key,
    upload_thumbnail_key,
)

ID, USER, ACCOUNT = UUID(int=0xA1), UUID(int=0xB2), UUID(int=0xC3)
RESERVED, SIZE = 100, 70
FILE = StoredFile(
    key=upload_key(ID, "image/png"),
    mime_type="image/png",
    size=SIZE,
    sha256="ab" * 32,
    width=4,
    height=3,
    duration_seconds=None,
    thumbnail_key=upload_thumbnail_key(ID),
)
BEGIN = BeginUpload(ID, USER, ACCOUNT, RESERVED)
KEEP, END, DELETE = KeepUpload(FILE), EndUpload("expired"), DeleteUpload("deleted")
BEGUN = UploadBegun(ID, USER, ACCOUNT, RESERVED)
UPLOADED = FileUploaded(ID, USER, ACCOUNT, RESERVED, FILE)
ENDED = UploadEnded(ID, USER, RESERVED, "expired")
DELETED = FileDeleted(ID, USER, ACCOUNT, FILE.key, SIZE, "deleted")
SPEC = Spec(UPLOADS)


def test_an_upload_is_begun_with_its_room() -> None:
    SPEC.when(BEGIN).then(BEGUN)


def test_a_begun_upload_is_kept_and_gives_back_what_it_had_reserved() -> None:
    SPEC.given(BEGUN).when(KEEP).then(UPLOADED)


def test_a_begun_upload_ends_and_gives_back_what_it_had_reserved() -> None:
    SPEC.given(BEGUN).when(END).then(ENDED)


def test_a_kept_file_is_deleted() -> None:
    SPEC.given(BEGUN, UPLOADED).when(DELETE).then(DELETED)


def test_deleting_what_is_on_its_way_ends_it() -> None:
    SPEC.given(BEGUN).when(DELETE).then(UploadEnded(ID, USER, RESERVED, "deleted"))


@pytest.mark.parametrize("history", [(BEGUN,), (BEGUN, UPLOADED), (BEGUN, ENDED)])
def test_beginning_it_again_is_nothing(history: tuple[UploadEvent, ...]) -> None:
    SPEC.given(*history).when(BEGIN).then_nothing()


@pytest.mark.parametrize("late", [KEEP, END])
def test_a_kept_file_stays_as_it_was_kept(late: UploadCommand) -> None:
    SPEC.given(BEGUN, UPLOADED).when(late).then_nothing()


@pytest.mark.parametrize("history", [(BEGUN, ENDED), (BEGUN, UPLOADED, DELETED)])
def test_refuses_to_keep_what_has_ended(history: tuple[UploadEvent, ...]) -> None:
    SPEC.given(*history).when(KEEP).refused(Rejected, "upload_ended")


@pytest.mark.parametrize("late", [END, DELETE])
@pytest.mark.parametrize("history", [(BEGUN, ENDED), (BEGUN, UPLOADED, DELETED)])
def test_what_has_ended_or_was_deleted_stays_so(
    history: tuple[UploadEvent, ...], late: UploadCommand
) -> None:
    SPEC.given(*history).when(late).then_nothing()


@pytest.mark.parametrize("command", [KEEP, END, DELETE])
def test_refuses_what_was_never_begun(command: UploadCommand) -> None:
    SPEC.when(command).refused(NotFound, "upload_not_begun")


@given(st.lists(st.sampled_from([BEGIN, KEEP, END, DELETE]), max_size=12))
def test_whatever_comes_in_whatever_order_room_is_taken_once_and_given_back_once(
    commands: list[UploadCommand],
) -> None:
    state = UPLOAD.initial_state()
    used = files = reserved = 0
    taken: list[int] = []

    for command in commands:
        try:
            events = decide_upload(command, state)
        except (NotFound, Rejected):
            continue
        state = UPLOAD.fold(events, state)
        for event in events:
            change = room_change(event)
            assert change is not None
            assert change.user_id == USER
            used, files = used + change.used, files + change.files
            reserved += change.reserved
            taken += [change.reserved] if change.reserved > 0 else []
        assert reserved == (RESERVED if state.status == UploadStatus.BEGUN else 0)
        assert (used, files) == ((SIZE, 1) if state.status == UploadStatus.KEPT else (0, 0))

    assert taken in ([], [RESERVED])


def test_an_upload_lies_under_its_id_alone() -> None:
    assert upload_key(ID, "audio/mpeg") == f"uploads/{ID.hex}.mp3"
    assert staging_key(ID, "audio/mpeg") == f"staging/{ID.hex}.mp3"
    assert upload_thumbnail_key(ID) == f"images/thumbnails/{ID.hex}.webp"


def test_a_plan_that_is_not_named_has_the_quota_of_any() -> None:
    quotas = Quotas({"free": 1, "*": 100})

    assert (quotas.of("free"), quotas.of("pro")) == (1, 100)


def test_without_a_quota_for_any_plan_an_unknown_one_has_none() -> None:
    assert Quotas({"free": 1}).of("pro") == 0
