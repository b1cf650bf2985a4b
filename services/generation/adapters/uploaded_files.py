"""Whose the uploaded pictures are: an upload's key names no user, so storage's events say it."""

from asyncio import sleep
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from contracts.storage import FileFacts
from kernel.schema import erasure_lock
from kernel.sql import Database
from kernel.unit import Unit

TRIES_AFTER_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""An upload may be used before its event has come here; the bus takes milliseconds."""
DELETED_KEPT_FOR: Final = timedelta(days=35)
"""For longer than a message can be late (`KEPT_DAYS`)."""
SWEPT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """`size` in bytes."""

    mime_type: str
    size: int


@dataclass(frozen=True, slots=True)
class UploadedFiles:
    database: Database
    tries_after_s: Sequence[float] = TRIES_AFTER_S

    async def find(self, user_id: UUID, key: str) -> UploadedFile | None:
        """The user's upload. A stranger's, a deleted one and one that never was are alike."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT mime_type, size FROM generation.uploaded_files"
                " WHERE key = $1 AND user_id = $2",
                *(key, user_id),
            )
        return None if row is None else UploadedFile(row["mime_type"], row["size"])

    async def heard_of(self, user_id: UUID, key: str) -> UploadedFile | None:
        """The same, waiting a moment for what may be on its way. All that is not the user's is
        waited for alike, so that the time of the answer tells nothing of strangers' files."""
        found = await self.find(user_id, key)
        for delay_s in self.tries_after_s:
            if found is not None:
                break
            await sleep(delay_s)
            found = await self.find(user_id, key)
        return found


def record_uploaded(unit: Unit, user_id: UUID, file: FileFacts) -> None:
    """Not for a user who has been erased, and not after its deletion."""
    unit.record_sql(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))",
        erasure_lock("generation", user_id),
    )
    unit.record_sql(
        "INSERT INTO generation.uploaded_files (key, user_id, mime_type, size, safety)"
        " SELECT $1, $2, $3, $4, $5"
        " WHERE NOT EXISTS (SELECT FROM generation.erasures WHERE user_id = $2)"
        " ON CONFLICT (key) DO NOTHING",
        *(file.key, user_id, file.mime_type, file.size, file.safety),
    )


def record_deleted(unit: Unit, key: str) -> None:
    """Nothing of the user's is left, only that the key is over; old ones are forgotten."""
    unit.record_sql(
        "INSERT INTO generation.uploaded_files (key, deleted_at) VALUES ($1, $2)"
        " ON CONFLICT (key) DO UPDATE SET user_id = NULL, mime_type = NULL, size = NULL,"
        " safety = NULL, deleted_at = excluded.deleted_at",
        *(key, unit.now),
    )
    unit.record_sql(
        "DELETE FROM generation.uploaded_files WHERE key = ANY(ARRAY("
        " SELECT key FROM generation.uploaded_files WHERE deleted_at < $1"
        f" ORDER BY deleted_at LIMIT {SWEPT_MAX} FOR UPDATE SKIP LOCKED))",
        unit.now - DELETED_KEPT_FOR,
    )
