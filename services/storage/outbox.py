"""Messages out: own event -> public event, or nothing."""

from dataclasses import asdict
from typing import assert_never

from contracts import storage as public
from contracts.envelope import PublicEvent
from kernel.unit import Recorded
from services.storage.domain import (
    FileDeleted,
    FileUploaded,
    OutputErased,
    OutputExpected,
    OutputRejected,
    OutputStored,
    StorageEvent,
    StorageMeasured,
    UploadBegun,
    UploadEnded,
)


def announce(recorded: Recorded[StorageEvent | StorageMeasured]) -> PublicEvent | None:
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
        case OutputErased(_, user_id, _, key, size, account_id, reason):
            return public.FileDeleted(
                user_id=user_id, account_id=account_id, key=key, size=size, reason=reason
            )
        case FileUploaded(upload_id, user_id, account_id, _, file):
            return public.FileUploaded(
                upload_id=upload_id,
                user_id=user_id,
                account_id=account_id,
                file=public.FileFacts(**asdict(file)),
            )
        case FileDeleted(_, user_id, account_id, key, size, reason):
            return public.FileDeleted(
                user_id=user_id, account_id=account_id, key=key, size=size, reason=reason
            )
        case StorageMeasured(user_id, account_id, day, byte_hours):
            return (
                public.StorageMeasured(
                    account_id=account_id, user_id=user_id, day=day, byte_hours=byte_hours
                )
                if byte_hours
                else None
            )
        case OutputExpected() | UploadBegun() | UploadEnded():
            return None
        case _:
            assert_never(recorded.event)
