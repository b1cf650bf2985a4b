from datetime import UTC, datetime
from uuid import UUID

from contracts import storage as public
from kernel.clock import new_id
from kernel.context import Origin
from kernel.unit import Recorded
from services.storage.domain import (
    OutputErased,
    OutputEvent,
    OutputExpected,
    OutputRejected,
    OutputStored,
    StoredFile,
    stream_of,
)
from services.storage.outbox import announce

TASK, USER = UUID(int=0xA1), UUID(int=0xB2)
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


def recorded(event: OutputEvent) -> Recorded[OutputEvent]:
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


def test_nobody_is_told_that_an_output_is_expected_or_erased() -> None:
    assert announce(recorded(OutputExpected(TASK, USER, 1, "image", None, None))) is None
    assert announce(recorded(OutputErased(TASK, USER, 1))) is None
