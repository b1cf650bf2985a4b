"""What each event changes in the room that a user's files take up. Sizes are bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from services.storage.domain.output import (
    OutputErased,
    OutputEvent,
    OutputExpected,
    OutputRejected,
    OutputStored,
)
from services.storage.domain.upload import (
    FileDeleted,
    FileUploaded,
    UploadBegun,
    UploadEnded,
    UploadEvent,
)

ANY_PLAN: Final = "*"

StorageEvent: TypeAlias = OutputEvent | UploadEvent


@dataclass(frozen=True, slots=True)
class RoomChange:
    """What is added; less than nothing is given back."""

    user_id: UUID
    used: int = 0
    files: int = 0
    reserved: int = 0


def room_change(event: StorageEvent) -> RoomChange | None:
    """Thumbnails are not counted. None where nothing changes."""
    match event:
        case UploadBegun(user_id=user_id, reserved=reserved):
            return RoomChange(user_id, reserved=reserved)
        case FileUploaded(user_id=user_id, reserved=reserved, file=file):
            return RoomChange(user_id, used=file.size, files=1, reserved=-reserved)
        case UploadEnded(user_id=user_id, reserved=reserved):
            return RoomChange(user_id, reserved=-reserved)
        case FileDeleted(user_id=user_id, size=size):
            return RoomChange(user_id, used=-size, files=-1)
        case OutputStored(user_id=user_id, file=file):
            return RoomChange(user_id, used=file.size, files=1)
        case OutputErased(user_id=user_id, size=size):
            return RoomChange(user_id, used=-size, files=-1)
        case OutputExpected() | OutputRejected():
            return None
        case _:
            assert_never(event)


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many bytes a user may have, by plan; `*` is every plan that is not named."""

    by_plan: Mapping[str, int]

    def of(self, plan: str) -> int:
        return self.by_plan.get(plan, self.by_plan.get(ANY_PLAN, 0))
