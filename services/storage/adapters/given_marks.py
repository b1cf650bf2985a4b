"""Which output has which mark: what is known of a picture by its watermark alone.

A row outlives its file, so that what is somewhere in the world can still be told to be generated;
then it names the model and the day, and no file any more.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.sql import Database
from kernel.unit import Unit
from services.storage.adapters.claims import Labelled, Made
from services.storage.domain import output_keys

_MARK_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Origin:
    """`model_id` and `source_type` are None where an output was kept without a mark."""

    model_id: str | None
    source_type: str | None
    made_at: datetime


def mark_of(secret: bytes, ref: str) -> int:
    """An output's number of 48 bits, the same for each try; without the secret it tells nothing."""
    told = hmac.digest(secret, b"smartspec mark 1 " + ref.encode(), "sha256")
    return int.from_bytes(told[:_MARK_BYTES]) or 1


async def give_mark(database: Database, labelled: Labelled, made: Made, key: str) -> None:
    """Before the object is there, so that no mark is in the world that nobody knows.

    Of two outputs with one number the first keeps it: among a million outputs there is such a pair
    with a chance of 0.2 %.
    """
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO storage.marks (mark, key, model_id, source_type, made_at)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (mark) DO NOTHING",
            *(labelled.mark, key, made.model_id, labelled.source_type, made.at),
        )


def record_file_gone(unit: Unit, user_id: UUID, task_id: UUID, index: int) -> None:
    """The output's mark names no file any more."""
    unit.record_sql(
        "UPDATE storage.marks SET key = NULL WHERE key = ANY($1::text[])",
        list(output_keys(user_id, task_id, index)),
    )


async def origin_by_mark(database: Database, mark: int) -> Origin | None:
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT model_id, source_type, made_at FROM storage.marks WHERE mark = $1", mark
        )
    return None if row is None else Origin(**row)


async def origin_by_sha256(database: Database, sha256: str) -> Origin | None:
    """Of an output that is kept: of uploads nobody is told that they are here."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT mark.model_id, mark.source_type, coalesce(mark.made_at, file.created_at)"
            " AS made_at FROM storage_read.files AS file"
            " LEFT JOIN storage.marks AS mark ON mark.key = file.key"
            " WHERE file.sha256 = $1 AND file.kind = 'output' ORDER BY file.created_at LIMIT 1",
            sha256,
        )
    return None if row is None else Origin(**row)
