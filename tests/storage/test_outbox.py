from datetime import UTC, datetime
from uuid import UUID

from contracts import storage as public
from kernel.clock import new_id
from kernel.context import Origin
from kernel.unit import Recorded
from services.storage.domain import (
    FileDeleted,
    FileUploaded,
    OutputErased,
    OutputExpected,
    OutputRejected,
    OutputStored,
    StorageEvent,
    StoredFile,
    UploadBegun,
    UploadEnded,
    stream_of,
)
from services.storage.outbox import announce

TASK, USER, ACCOUNT = UUID(int=0xA1), UUID(int=0xB2), UUID(int=0xC3)
UPLOAD_ID = UUID(int=0xD4)
FACTS = {
    "key": "images/generated/u/t_1.png",
    "mime_type": "image/png",
    "size": 10,
    "sha256": "ab" * 32,
    "width": 4,
    "height": 3,
    "duration_seconds": None,
    "thumbnail_key": "images/thumbnails/t_1.webp",
}


def recorded(event: StorageEvent) -> Recorded[StorageEvent]:
    return Recorded(
        new_id(), stream_of(TASK, 1), 2, event, datetime(2026, 1, 1, tzinfo=UTC), Origin("test")
    )


def test_a_stored_output_is_told_with_the_facts_of_its_file() -> None:
    file = StoredFile(**FACTS)  # type: ignore[arg-type]  # the values of FACTS are of many types

    told = announce(recorded(OutputStored(TASK, USER, 1, file)))

    facts = public.FileFacts.model_validate(FACTS)
    assert told == public.OutputStored(task_id=TASK, user_id=USER, index=1, file=facts)


def test_a_rejected_output_is_told_with_its_reason() -> None:
    told = announce(recorded(OutputRejected(TASK, USER, 1, "timeout", "Too slow.")))

    assert told == public.OutputRejected(
        task_id=TASK, user_id=USER, index=1, code="timeout", message="Too slow."
    )


def test_nobody_is_told_of_what_is_only_expected_or_on_its_way() -> None:
    assert announce(recorded(OutputExpected(TASK, USER, 1, "image", None, None))) is None
    assert announce(recorded(UploadBegun(UPLOAD_ID, USER, ACCOUNT, 10))) is None
    assert announce(recorded(UploadEnded(UPLOAD_ID, USER, 10, "expired"))) is None


def test_an_erased_output_is_told_as_a_deleted_file() -> None:
    told = announce(recorded(OutputErased(TASK, USER, 1, "k", 10, ACCOUNT, "deleted")))

    assert told == public.FileDeleted(
        user_id=USER, account_id=ACCOUNT, key="k", size=10, reason="deleted"
    )


def test_an_upload_is_told_with_the_facts_of_its_file() -> None:
    file = StoredFile(**FACTS)  # type: ignore[arg-type]  # the values of FACTS are of many types

    told = announce(recorded(FileUploaded(UPLOAD_ID, USER, ACCOUNT, 10, file)))

    facts = public.FileFacts.model_validate(FACTS)
    assert told == public.FileUploaded(
        upload_id=UPLOAD_ID, user_id=USER, account_id=ACCOUNT, file=facts
    )


def test_a_deleted_upload_is_told_with_its_reason() -> None:
    told = announce(recorded(FileDeleted(UPLOAD_ID, USER, ACCOUNT, "k", 10, "expired")))

    assert told == public.FileDeleted(
        user_id=USER, account_id=ACCOUNT, key="k", size=10, reason="expired"
    )
