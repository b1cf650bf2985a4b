"""Messages out: own event -> public event, or nothing."""

from dataclasses import asdict
from typing import assert_never

from contracts import storage as public
from contracts.envelope import PublicEvent
from kernel.unit import Recorded
from services.storage.domain import (
    OutputErased,
    OutputEvent,
    OutputExpected,
    OutputRejected,
    OutputStored,
)


def announce(recorded: Recorded[OutputEvent]) -> PublicEvent | None:
    match recorded.event:
        case OutputStored(task_id, user_id, index, file):
            return public.OutputStored(
                task_id=task_id,
                user_id=user_id,
                index=index,
                file=public.FileFacts(**asdict(file)),
            )
        case OutputRejected(task_id, user_id, index, code, message):
            return public.OutputRejected(
                task_id=task_id, user_id=user_id, index=index, code=code, message=message
            )
        case OutputExpected() | OutputErased():
            return None
        case _:
            assert_never(recorded.event)
