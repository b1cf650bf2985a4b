"""Every file that is kept, by its key and by its owner."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kernel.puts import Put
from kernel.sql import Database, Statement
from kernel.unit import Recorded
from services.storage.domain import FileUploaded, OutputStored
from services.storage.read_model.tables import TABLES

OUTPUT_KIND: Final = "output"
UPLOAD_KIND: Final = "upload"
KINDS: Final = (OUTPUT_KIND, UPLOAD_KIND)

FILES: Final = Table(
    "files",
    TABLES,
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("account_id", Uuid),
    Column("task_id", Uuid),
    Column("output_index", Integer),
    Column("upload_id", Uuid),
    Column("mime_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("facts", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("files_by_user", "user_id", "created_at", "key"),
    Index("files_by_sha256", "sha256"),
    Index("files_by_age", "created_at", "key"),
)
"""An output has a task and its index, an upload an id of its own. `facts` are all of the file."""

_drop = delete(FILES).where(FILES.c.key == any_(bindparam("keys", type_=ARRAY(Text))))
_sha256 = select(FILES.c.sha256).where(FILES.c.key == bindparam("key"))
_own = select(FILES).where(FILES.c.key == bindparam("key"), FILES.c.user_id == bindparam("user_id"))


@dataclass(frozen=True, slots=True)
class File:
    """`facts` are those of the domain's `StoredFile`, as JSON has them."""

    key: str
    kind: str
    user_id: UUID
    account_id: UUID | None
    task_id: UUID | None
    output_index: int | None
    upload_id: UUID | None
    mime_type: str
    size: int
    sha256: str
    facts: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Wished:
    """Which files are listed: None for all. `after` is the last one that was seen."""

    kind: str | None = None
    prefix: str | None = None
    mime_type: str | None = None
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class TypeTotal:
    mime_type: str
    files: int
    bytes: int


_PAGE: Final = """
    SELECT * FROM storage_read.files
    WHERE user_id = $1 AND ($2::text IS NULL OR kind = $2)
        AND ($3::text IS NULL OR starts_with(key, $3)) AND ($4::text IS NULL OR mime_type = $4)
        AND ($5::timestamptz IS NULL OR (created_at, key) < ($5, $6::text))
    ORDER BY created_at DESC, key DESC LIMIT $7"""
_BY_TYPE: Final = """
    SELECT mime_type, count(*) AS files, sum(size)::bigint AS bytes FROM storage_read.files
    WHERE user_id = $1 GROUP BY mime_type ORDER BY mime_type"""


async def sha256_of(database: Database, key: str) -> str | None:
    """The hash of that file in hex; None for what is no file of its own, like a thumbnail."""
    row = await database.fetch_row(_sha256, key=key)
    return None if row is None else str(row["sha256"])


async def file_of(database: Database, user_id: UUID, key: str) -> File | None:
    """The user's file of that key; None where there is none, or where it is another's."""
    row = await database.fetch_row(_own, key=key, user_id=user_id)
    return None if row is None else File(**row)


async def files_of(database: Database, user_id: UUID, wished: Wished, limit: int) -> Sequence[File]:
    """The user's files, newest first."""
    after_at, after_key = wished.after or (None, None)
    async with database.connection() as connection:
        rows: list[asyncpg.Record] = await connection.fetch(
            _PAGE,
            *(user_id, wished.kind, wished.prefix, wished.mime_type, after_at, after_key, limit),
        )
    return [File(**row) for row in rows]


async def by_type(database: Database, user_id: UUID) -> Sequence[TypeTotal]:
    async with database.connection() as connection:
        return [TypeTotal(**row) for row in await connection.fetch(_BY_TYPE, user_id)]


def output_row(recorded: Recorded[object], event: OutputStored) -> Put:
    return _row(
        recorded,
        event,
        kind=OUTPUT_KIND,
        task_id=event.task_id,
        output_index=event.index,
    )


def upload_row(recorded: Recorded[object], event: FileUploaded) -> Put:
    return _row(recorded, event, kind=UPLOAD_KIND, upload_id=event.upload_id)


def drop_rows(keys: Sequence[str]) -> Statement:
    return _drop, {"keys": list(keys)}


def _row(recorded: Recorded[object], event: OutputStored | FileUploaded, **more: object) -> Put:
    file = event.file
    return Put(
        FILES,
        {
            "key": file.key,
            "user_id": event.user_id,
            "account_id": event.account_id,
            "mime_type": file.mime_type,
            "size": file.size,
            "sha256": file.sha256,
            "facts": asdict(file),
            "created_at": recorded.at,
            **more,
        },
    )
