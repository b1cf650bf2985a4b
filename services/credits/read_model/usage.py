"""What was used for what: one record for each task that was charged."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, Column, DateTime, Index, Table, Text, Uuid, bindparam

from kernel.puts import Put
from kernel.sql import Database, Statement
from kernel.unit import Recorded
from services.credits.domain import HoldCommitted, HoldRefunded
from services.credits.read_model.tables import TABLES

USAGE: Final = Table(
    "usage_records",
    TABLES,
    Column("task_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("user_id", Uuid),
    Column("key_id", Uuid),
    Column("task_type", Text),
    Column("model_id", Text),
    Column("outcome", Text, nullable=False),
    Column("charged_units", BigInteger, nullable=False),
    Column("refunded_units", BigInteger, nullable=False),
    Column("used_at", DateTime(timezone=True), nullable=False),
    Index("usage_records_by_account", "account_id", "used_at", "task_id"),
)
_refund = (
    USAGE.update()
    .where(USAGE.c.task_id == bindparam("of_task"))
    .values(refunded_units=bindparam("refunded"))
)


def project_usage(recorded: Recorded[object], event: HoldCommitted) -> Put:
    purpose = event.purpose
    return Put(
        USAGE,
        {
            "task_id": event.task_id,
            "account_id": event.account_id,
            "user_id": purpose.user_id if purpose else None,
            "key_id": purpose.key_id if purpose else None,
            "task_type": purpose.task_type if purpose else None,
            "model_id": purpose.model_id if purpose else None,
            "outcome": event.outcome,
            "charged_units": event.amount_units,
            "refunded_units": 0,
            "used_at": recorded.at,
        },
    )


def project_refund(event: HoldRefunded) -> Statement:
    return _refund, {"of_task": event.task_id, "refunded": event.refunded_after}


async def usage_page(
    database: Database,
    account_id: UUID,
    *,
    since: datetime,
    until: datetime,
    before: tuple[datetime, UUID],
    limit: int,
) -> Sequence[asyncpg.Record]:
    """Records of `since <= used_at < until`, newest first, older than `before`."""
    async with database.connection() as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            "SELECT * FROM credits_read.usage_records WHERE account_id = $1"
            " AND used_at >= $2 AND used_at < $3 AND (used_at, task_id) < ($4, $5)"
            " ORDER BY used_at DESC, task_id DESC LIMIT $6",
            *(account_id, since, until, *before, limit),
        )
        return rows


async def usage_totals(
    database: Database, account_id: UUID, *, since: datetime, until: datetime
) -> Sequence[asyncpg.Record]:
    """`tasks` and `units` (charged and not refunded) by `task_type` and `model_id`."""
    async with database.connection() as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            "SELECT task_type, model_id, count(*) AS tasks,"
            " sum(charged_units - refunded_units)::bigint AS units"
            " FROM credits_read.usage_records"
            " WHERE account_id = $1 AND used_at >= $2 AND used_at < $3"
            " GROUP BY task_type, model_id ORDER BY task_type, model_id",
            *(account_id, since, until),
        )
        return rows
