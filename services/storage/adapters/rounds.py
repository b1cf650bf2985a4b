"""What storage does by itself from time to time: of all processes together, one at a time does it.

A claim is a short statement with a lease. Whoever dies in a round leaves it to the next one after
its lease, so what a round does may be done twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from kernel.clock import Clock
from kernel.errors import Error
from kernel.sql import DATABASE_AWAY, Database

LEASE: Final = timedelta(hours=1)
LOOK_EVERY_S: Final = 5.0

_log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Round:
    """`work` is begun `every` so often."""

    name: str
    every: timedelta
    work: Work


class RoundRecords:
    """The table `rounds` of storage: when each is due, and what was last seen in it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, name: str, now: datetime) -> bool:
        """Whether it is due, and the caller's for `LEASE`."""
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval(
                    "INSERT INTO storage.rounds AS known (name, due_at)"
                    " VALUES ($1, $2::timestamptz + $3) ON CONFLICT (name) DO UPDATE"
                    " SET due_at = excluded.due_at WHERE known.due_at <= $2 RETURNING true",
                    *(name, now, LEASE),
                )
            )

    async def end(self, name: str, ended_at: datetime, due_at: datetime) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE storage.rounds SET due_at = $3, ended_at = $2 WHERE name = $1",
                *(name, ended_at, due_at),
            )

    async def see(self, name: str, seen: Mapping[str, Any]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO storage.rounds AS known (name, due_at, seen)"
                " VALUES ($1, '-infinity', $2)"
                " ON CONFLICT (name) DO UPDATE SET seen = excluded.seen",
                *(name, dict(seen)),
            )

    async def seen(self, name: str) -> Mapping[str, Any]:
        """Empty before the first time."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "SELECT seen FROM storage.rounds WHERE name = $1", name
            )
        return found or {}


class Rounds:
    """The loop that begins them; `show` is called each time it looks, for what `/metrics` says."""

    def __init__(
        self, database: Database, clock: Clock, rounds: Sequence[Round], show: Work | None = None
    ) -> None:
        self._records = RoundRecords(database)
        self._clock = clock
        self._rounds = rounds
        self._show = show

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> Sequence[str]:
        """Do what is due; the names of what was done to its end."""
        done = [each.name for each in self._rounds if await self._attended(each)]
        if self._show is not None:
            try:
                await self._show()
            except (*DATABASE_AWAY, asyncpg.PostgresError, TimeoutError) as error:
                _log.warning("rounds_not_shown", error=type(error).__name__)
        return done

    async def _attended(self, each: Round) -> bool:
        began_at = self._clock.now()
        try:
            if not await self._records.claim(each.name, began_at):
                return False
            await each.work()
            await self._records.end(each.name, self._clock.now(), began_at + each.every)
        except (*DATABASE_AWAY, asyncpg.PostgresError, TimeoutError, Error) as error:
            _log.warning("round_failed", round=each.name, error=type(error).__name__)
            return False
        except Exception:  # noqa: BLE001 - an object store that is away, by whatever name, must not end the process
            _log.exception("round_failed", round=each.name)
            return False
        return True
