"""Which plan each user has, as far as storage has heard: for what it does without a request."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from kernel.sql import Database
from kernel.unit import Unit

NEVER_CHANGED: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Of a plan that a request told: whatever a message says of the plan is newer."""


def record_plan(
    unit: Unit, user_id: UUID, account_id: UUID, plan: str, changed_at: datetime = NEVER_CHANGED
) -> None:
    """The latest change stands, in whatever order they are heard."""
    unit.record_sql(
        "INSERT INTO storage.plans AS known (user_id, account_id, plan, changed_at)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (user_id) DO UPDATE SET plan = excluded.plan,"
        " account_id = excluded.account_id, changed_at = excluded.changed_at"
        " WHERE known.changed_at < excluded.changed_at",
        *(user_id, account_id, plan, changed_at),
    )


async def plan_of(database: Database, user_id: UUID) -> str | None:
    """None for a user of whom storage has heard nothing."""
    async with database.connection() as connection:
        plan: str | None = await connection.fetchval(
            "SELECT plan FROM storage.plans WHERE user_id = $1", user_id
        )
    return plan
