"""Objects that nobody is to have any more: named in the commit that gives them up, then deleted.

So what a crash leaves undone is known and done later, and nothing lies in the store without a name.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from kernel.clock import Clock
from kernel.objects import ObjectStore
from kernel.sql import DATABASE_AWAY, Database
from kernel.unit import Unit

BATCH: Final = 50
POLL_EVERY_S: Final = 1.0
LEASE: Final = timedelta(seconds=60)
"""A claim on objects to delete; what could not be deleted by then is tried again."""

_log = structlog.get_logger(__name__)


def record_unwanted(unit: Unit, keys: Iterable[str], *, again_at: datetime | None = None) -> None:
    """Due at once, and once more at `again_at`, where somebody may still put the object until
    then."""
    for key in keys:
        unit.record_sql(
            "INSERT INTO storage.unwanted_objects (key, due_at, again_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at,"
            " again_at = excluded.again_at",
            *(key, unit.now, again_at),
        )


class Unwanted:
    """The table `unwanted_objects`, and the loop that empties it."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._wake = asyncio.Event()

    def hasten(self) -> None:
        """There is something new to delete."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            try:
                while await self.delete_due() == BATCH:
                    pass
            except (*DATABASE_AWAY, asyncpg.PostgresError, TimeoutError) as error:
                _log.warning("unwanted_objects_not_read", error=type(error).__name__)
            try:
                async with asyncio.timeout(POLL_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def delete_due(self) -> int:
        """The next ones that are due; how many were claimed."""
        now = self._clock.now()
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "UPDATE storage.unwanted_objects SET due_at = $1::timestamptz + $2"
                " WHERE key = ANY(ARRAY(SELECT key FROM storage.unwanted_objects"
                " WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED))"
                " RETURNING key, due_at",
                *(now, LEASE, BATCH),
            )
        for row in rows:
            await self._delete(row["key"], row["due_at"])
        return len(rows)

    async def delete_now(self, keys: Iterable[str]) -> None:
        """Without waiting for the loop, which has them all the same if this fails."""
        for key in keys:
            async with self._database.connection() as connection:
                due_at = await connection.fetchval(
                    "SELECT due_at FROM storage.unwanted_objects WHERE key = $1", key
                )
            if due_at is not None:
                await self._delete(key, due_at)

    async def _delete(self, key: str, due_at: datetime) -> None:
        try:
            await self._objects.delete(key)
        except Exception as error:  # noqa: BLE001 - a store that is away, by whatever name, leaves the row due after its lease
            _log.warning("object_not_deleted", error=type(error).__name__)
            return
        async with self._database.transaction() as connection:
            await connection.execute(
                "DELETE FROM storage.unwanted_objects"
                " WHERE key = $1 AND due_at = $2 AND again_at IS NULL",
                *(key, due_at),
            )
            await connection.execute(
                "UPDATE storage.unwanted_objects SET due_at = again_at, again_at = NULL"
                " WHERE key = $1 AND due_at = $2 AND again_at IS NOT NULL",
                *(key, due_at),
            )
