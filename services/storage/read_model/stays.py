"""How long each file has lain in storage, for ever: what any day took up can be told exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from kernel.puts import Put
from kernel.sql import Database, Statement
from services.storage.domain import StoredFile
from services.storage.read_model.tables import TABLES

STAYS: Final = Table(
    "stays",
    TABLES,
    Column("key", Text, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("account_id", Uuid),
    Column("size", BigInteger, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True)),
    Index("stays_by_user", "user_id", "since"),
    Index("stays_by_end", "until"),
)
"""`until` is NULL while the file is there; `account_id` is NULL where nobody knew who pays."""

_leave = (
    update(STAYS)
    .where(STAYS.c.key == any_(bindparam("keys", type_=ARRAY(Text))), STAYS.c.until.is_(None))
    .values(until=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class Lain:
    """What the files of one user took up, for one account: bytes times the hours, rounded down."""

    user_id: UUID
    account_id: UUID | None
    byte_hours: int


_LAIN: Final = """
    SELECT user_id, account_id, floor(sum(size * extract(epoch FROM
        least(coalesce(until, $2), $2) - greatest(since, $1))) / 3600)::bigint AS byte_hours
    FROM storage_read.stays
    WHERE since < $2 AND (until IS NULL OR until > $1) AND ($3::uuid IS NULL OR user_id = $3)
    GROUP BY user_id, account_id ORDER BY user_id, account_id"""


async def lain(
    database: Database, since: datetime, until: datetime, user_id: UUID | None = None
) -> Sequence[Lain]:
    """What lay between the two, of that user or of everybody, whatever became of it since."""
    async with database.connection() as connection:
        rows = await connection.fetch(_LAIN, since, until, user_id)
    return [Lain(**row) for row in rows]


def arrived(file: StoredFile, user_id: UUID, account_id: UUID | None, at: datetime) -> Put:
    return Put(
        STAYS,
        {
            "key": file.key,
            "user_id": user_id,
            "account_id": account_id,
            "size": file.size,
            "since": at,
        },
    )


def left(keys: Sequence[str], at: datetime) -> Statement:
    return _leave, {"keys": list(keys), "at": at}
