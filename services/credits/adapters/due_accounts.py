"""When which account must be looked at: a grant ends, or a period of its plan begins.

Each such moment is booked in the transaction of the event that sets it, so that none is forgotten.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from kernel.event_store import EventStore
from kernel.sql import DATABASE_AWAY
from kernel.unit import Recorded, Unit
from services.credits.domain import (
    ACCOUNT,
    PLAN,
    SUBSCRIPTION,
    CatchUp,
    GrantEntered,
    PeriodBegun,
    catch_up,
)

LOOK_EVERY_S: Final = 1.0
BATCH: Final = 100
AGAIN_AFTER: Final = timedelta(minutes=10)
"""Where it failed."""

_log = structlog.get_logger(__name__)


def book(unit: Unit, recorded: Sequence[Recorded[Any]]) -> None:
    """Have the accounts looked at when what was recorded ends."""
    for item in recorded:
        match item.event:
            case GrantEntered(account_id=account_id, expires_at=datetime() as due_at):
                _book(unit, account_id, due_at)
            case PeriodBegun(account_id=account_id, ends_at=due_at):
                _book(unit, account_id, due_at)
            case _:
                pass


def _book(unit: Unit, account_id: UUID, due_at: datetime) -> None:
    unit.record_sql(
        "INSERT INTO credits.due_accounts (account_id, due_at) VALUES ($1, $2)"
        " ON CONFLICT DO NOTHING",
        account_id,
        due_at,
    )


class DueAccounts:
    """Catches up with what is due. Two processes may do so at once: the decision is the same."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                while await self.catch_up_some() == BATCH:
                    pass
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                _log.warning("due_accounts_failed", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    async def catch_up_some(self) -> int:
        """How many accounts were due, at most `BATCH`."""
        now = self._store.clock.now()
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT account_id, max(due_at) AS due_at FROM ("
                "  SELECT account_id, due_at FROM credits.due_accounts WHERE due_at <= $1"
                "  ORDER BY due_at LIMIT $2) AS due GROUP BY account_id",
                now,
                BATCH,
            )
        for row in rows:
            try:
                await self._catch_up(row["account_id"], row["due_at"], now)
            except DATABASE_AWAY:
                raise
            except Exception:  # noqa: BLE001 - one account must not keep all others waiting
                _log.exception("account_not_caught_up", account_id=str(row["account_id"]))
                await self._put_off(row["account_id"], row["due_at"], now + AGAIN_AFTER)
        return len(rows)

    async def _put_off(self, account_id: UUID, due_at: datetime, until: datetime) -> None:
        async with self._store.database.transaction() as connection:
            await connection.execute(
                "DELETE FROM credits.due_accounts WHERE account_id = $1 AND due_at <= $2",
                account_id,
                due_at,
            )
            await connection.execute(
                "INSERT INTO credits.due_accounts (account_id, due_at) VALUES ($1, $2)"
                " ON CONFLICT DO NOTHING",
                account_id,
                until,
            )

    async def _catch_up(self, account_id: UUID, due_at: datetime, now: datetime) -> None:
        command = CatchUp(account_id, now)

        async def work(unit: Unit) -> None:
            subscription = await unit.state(SUBSCRIPTION, SUBSCRIPTION.stream_id(account_id))
            recorded = await unit.decide_on(
                (
                    (SUBSCRIPTION, SUBSCRIPTION.stream_id(account_id)),
                    (ACCOUNT, ACCOUNT.stream_id(account_id)),
                    (PLAN, PLAN.stream_id(subscription.plan_id)),
                ),
                lambda subscription, account, plan: catch_up(command, subscription, account, plan),
            )
            book(unit, recorded)
            unit.record_sql(
                "DELETE FROM credits.due_accounts WHERE account_id = $1 AND due_at <= $2",
                account_id,
                due_at,
            )

        await self._store.transact(work)
