"""The read model of storage: every file that is kept, by its key."""

from collections.abc import Iterable
from typing import assert_never

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kernel.projections import ReadModel
from kernel.sql import Database, Statement
from kernel.unit import Recorded
from services.storage.domain import (
    OutputErased,
    OutputEvent,
    OutputExpected,
    OutputRejected,
    OutputStored,
    output_keys,
)

TABLES = MetaData(schema="storage_read")

files = Table(
    "files",
    TABLES,
    Column("key", Text, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("task_id", Uuid, nullable=False),
    Column("output_index", Integer, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("thumbnail_key", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

_add_file = insert(files)
_drop_file = delete(files).where(files.c.key == any_(bindparam("keys", type_=ARRAY(Text))))
_sha256 = select(files.c.sha256).where(files.c.key == bindparam("key"))


def project(recorded: Recorded[OutputEvent]) -> Iterable[Statement]:
    match recorded.event:
        case OutputStored(task_id, user_id, index, file):
            yield (
                _add_file,
                {
                    "key": file.key,
                    "user_id": user_id,
                    "task_id": task_id,
                    "output_index": index,
                    "mime_type": file.mime_type,
                    "size": file.size,
                    "sha256": file.sha256,
                    "width": file.width,
                    "height": file.height,
                    "thumbnail_key": file.thumbnail_key,
                    "created_at": recorded.at,
                },
            )
        case OutputErased(task_id, user_id, index):
            yield _drop_file, {"keys": list(output_keys(user_id, task_id, index))}
        case OutputExpected() | OutputRejected():
            return
        case _:
            assert_never(recorded.event)


READ_MODEL = ReadModel(TABLES, project)


async def sha256_of(database: Database, key: str) -> str | None:
    """The hash of that file in hex; None for what is no file of its own, like a thumbnail."""
    row = await database.fetch_row(_sha256, key=key)
    return None if row is None else str(row["sha256"])
