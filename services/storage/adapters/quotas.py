"""How much room each user's files take up: one record a user, changed with the events.

One statement checks and changes it, in the transaction of the event that it counts; so it is exact
however many come at once. Sizes are bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from kernel.errors import TooLarge
from kernel.sql import Database
from kernel.unit import Recorded, Unit
from services.storage.domain import StorageEvent, room_change

GUARDED_TABLE: Final = "quotas"
_CHANGE: Final = """
    INSERT INTO storage.quotas AS room (user_id, used_bytes, files, reserved_bytes)
    VALUES ($1, greatest(0, $2::bigint), greatest(0, $3::bigint),
        CASE WHEN $5::bigint IS NULL OR $2 + $4 <= $5 THEN greatest(0, $4::bigint) END)
    ON CONFLICT (user_id) DO UPDATE SET
        used_bytes = greatest(0, room.used_bytes + $2), files = greatest(0, room.files + $3),
        reserved_bytes = CASE
            WHEN $5 IS NULL OR $2 + $4 <= 0
                OR room.used_bytes + room.reserved_bytes + $2 + $4 <= $5
            THEN greatest(0, room.reserved_bytes + $4) END"""


@dataclass(frozen=True, slots=True)
class Room:
    """`reserved_bytes` are for uploads that are on their way."""

    used_bytes: int = 0
    files: int = 0
    reserved_bytes: int = 0

    @property
    def taken_bytes(self) -> int:
        return self.used_bytes + self.reserved_bytes


async def room_of(database: Database, user_id: UUID) -> Room:
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT used_bytes, files, reserved_bytes FROM storage.quotas WHERE user_id = $1",
            user_id,
        )
    return Room() if row is None else Room(**row)


def record_room(
    unit: Unit, recorded: Iterable[Recorded[StorageEvent]], quota: int | None = None
) -> None:
    """What these events change.

    With a `quota`, the commit fails with a NotNullViolationError of `GUARDED_TABLE` where more is
    taken afterwards than before, and more than the quota.
    """
    for item in recorded:
        change = room_change(item.event)
        if change is not None:
            unit.record_sql(
                _CHANGE, *(change.user_id, change.used, change.files, change.reserved), quota
            )


def quota_exceeded(room: Room, quota: int, requested: int) -> TooLarge:
    return TooLarge(
        "quota_exceeded",
        "There is no room for this file.",
        {"used": room.taken_bytes, "quota": quota, "requested": requested},
    )
