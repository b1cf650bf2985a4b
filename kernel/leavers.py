"""Users who leave, or what else goes: a message notes each, and what is to be done goes on in small
steps.

A user may have any number of tasks and files, so a handler never does the work itself: it would
hold its transaction for as long. A step is short, may be repeated, and says when to come again. It
must not know what a service keeps of its users.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from kernel.clock import Clock
from kernel.errors import Error
from kernel.schema import erasure_lock
from kernel.sql import DATABASE_AWAY, Database
from kernel.unit import Unit

USERS_AT_ONCE_MAX: Final = 16
STEP_LEASE: Final = timedelta(seconds=60)
POLL_EVERY_S: Final = 1.0

_log = structlog.get_logger(__name__)

Step = Callable[[UUID, datetime], Awaitable[float | None]]
"""One bounded piece of work for a user who has left at that time: seconds until the next one, None
when nothing is left. It may run twice."""


class Leavers:
    """The table `table`: who leaves (`key` is its column), since when, and when the next step is
    due."""

    def __init__(
        self, database: Database, clock: Clock, table: str, step: Step, *, key: str = "user_id"
    ) -> None:
        self._database = database
        self._clock = clock
        self._table = table
        self._key = key
        self._step = step

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                while await self.attend():
                    pass
            except (*DATABASE_AWAY, asyncpg.PostgresError, TimeoutError) as error:
                _log.warning("leavers_not_read", table=self._table, error=type(error).__name__)
            await asyncio.sleep(POLL_EVERY_S)

    async def attend(self) -> int:
        """One step for each user whose time has come; how many there were."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE {self._table} SET next_step_at = $1::timestamptz + $2
                WHERE {self._key} = ANY(ARRAY(
                    SELECT {self._key} FROM {self._table} WHERE next_step_at <= $1
                    ORDER BY next_step_at LIMIT {USERS_AT_ONCE_MAX} FOR UPDATE SKIP LOCKED))
                RETURNING {self._key}, since, next_step_at""",
                self._clock.now(),
                STEP_LEASE,
            )
        for row in rows:
            await self._attend(row[self._key], row["since"], row["next_step_at"])
        return len(rows)

    async def _attend(self, user_id: UUID, since: datetime, lease_until: datetime) -> None:
        """What fails is tried again after its lease. A row that was noted anew meanwhile stays
        due."""
        try:
            again_after_s = await self._step(user_id, since)
        except (*DATABASE_AWAY, asyncpg.PostgresError, Error, TimeoutError) as error:
            _log.warning("leaver_put_off", table=self._table, error=type(error).__name__)
            return
        next_step_at = None
        if again_after_s is not None:
            next_step_at = self._clock.now() + timedelta(seconds=again_after_s)
        async with self._database.connection() as connection:
            await connection.execute(
                f"UPDATE {self._table} SET next_step_at = $3"
                f" WHERE {self._key} = $1 AND next_step_at = $2",
                *(user_id, lease_until, next_step_at),
            )


def record_leaver(
    unit: Unit, table: str, user_id: UUID, since: datetime, *, key: str = "user_id"
) -> None:
    """Due at once; said again, whatever is left by then is done again."""
    unit.record_sql(
        f"INSERT INTO {table} AS known ({key}, since, next_step_at) VALUES ($1, $2, $3)"
        f" ON CONFLICT ({key}) DO UPDATE SET since = greatest(known.since, excluded.since),"
        " next_step_at = excluded.next_step_at",
        *(user_id, since, unit.now),
    )


def record_erasure(unit: Unit, schema: str, user_id: UUID, erased_at: datetime) -> None:
    """From this commit on nothing personal of the user is taken any more; what is being written
    meanwhile is waited for, so that it is there to be deleted."""
    unit.record_sql(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", erasure_lock(schema, user_id)
    )
    record_leaver(unit, f"{schema}.erasures", user_id, erased_at)
