"""Plans, each version of them, and which account has which."""

from collections.abc import Sequence
from typing import Final

import asyncpg
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, Table, Text, Uuid

from kernel.puts import Put
from kernel.sql import Database
from kernel.unit import Recorded
from services.credits.domain import PeriodBegun, PlanDefined
from services.credits.read_model.tables import TABLES

PLANS: Final = Table(
    "subscription_plans",
    TABLES,
    Column("plan_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("monthly_units", BigInteger, nullable=False),
    Column("roll_over", Boolean, nullable=False),
    Column("offered", Boolean, nullable=False),
    Column("defined_at", DateTime(timezone=True), nullable=False),
    Column("defined_by", Uuid),
)
SUBSCRIPTIONS: Final = Table(
    "subscriptions",
    TABLES,
    Column("account_id", Uuid, primary_key=True),
    Column("plan_id", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("period_ends_at", DateTime(timezone=True), nullable=False),
)


def project_plan(recorded: Recorded[object], event: PlanDefined) -> Put:
    return Put(
        PLANS,
        {
            "plan_id": event.plan_id,
            "version": recorded.version,
            "name": event.terms.name,
            "monthly_units": event.terms.monthly_units,
            "roll_over": event.terms.roll_over,
            "offered": event.terms.offered,
            "defined_at": event.at,
            "defined_by": event.by,
        },
    )


def project_period(event: PeriodBegun) -> Put:
    return Put(
        SUBSCRIPTIONS,
        {
            "account_id": event.account_id,
            "plan_id": event.plan_id,
            "since": event.since,
            "period_ends_at": event.ends_at,
        },
    )


async def plans(database: Database, plan_id: str | None = None) -> Sequence[asyncpg.Record]:
    """Every version of every plan, or of that one, the newest first."""
    async with database.connection() as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(
            "SELECT * FROM credits_read.subscription_plans WHERE plan_id = coalesce($1, plan_id)"
            " ORDER BY plan_id, version DESC",
            plan_id,
        )
        return rows
