"""What the platform bears: outputs and charges that came too late."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, Table, Text, Uuid

from kernel.puts import Put
from kernel.sql import Database
from kernel.unit import Recorded
from services.credits.domain import LossEntered
from services.credits.read_model.tables import TABLES

LOSSES: Final = Table(
    "losses",
    TABLES,
    Column("entry_id", Uuid, primary_key=True),
    Column("task_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("output_index", Integer),
    Column("amount_units", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("losses_by_time", "created_at"),
)
_NEWEST: Final = UUID(int=2**128 - 1)


def project_loss(recorded: Recorded[object], event: LossEntered) -> Put:
    return Put(
        LOSSES,
        {
            "entry_id": recorded.event_id,
            "task_id": event.task_id,
            "account_id": event.account_id,
            "output_index": event.index,
            "amount_units": event.amount_units,
            "reason": event.reason,
            "created_at": recorded.at,
        },
    )


async def losses_page(
    database: Database, *, before: UUID | None, limit: int
) -> Sequence[asyncpg.Record]:
    """The newest first, entered before the entry `before`: ids of entries are in their order."""
    async with database.connection() as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            "SELECT * FROM credits_read.losses WHERE entry_id < $1 ORDER BY entry_id DESC LIMIT $2",
            before or _NEWEST,
            limit,
        )
        return rows
