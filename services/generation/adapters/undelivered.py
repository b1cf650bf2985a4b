"""What a vendor answered with, and the object store would not take: its task has failed and costs
nothing, and whoever waits for it may have the bytes all the same, for some minutes."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from kernel.clock import Clock
from kernel.sql import DATABASE_AWAY, Database
from kernel.unit import Unit

KEPT_FOR: Final = timedelta(minutes=10)
BYTES_MAX: Final = 20 * 1_024 * 1_024
SWEEP_EVERY_S: Final = 60.0

_log = structlog.get_logger(__name__)


def record_undelivered(unit: Unit, task_id: UUID, output_index: int, content: bytes) -> None:
    """Nothing of what is larger than `BYTES_MAX`."""
    if len(content) <= BYTES_MAX:
        unit.record_sql(
            "INSERT INTO generation.undelivered (task_id, output_index, content, expires_at)"
            " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            *(task_id, output_index, content, unit.now + KEPT_FOR),
        )


@dataclass(frozen=True, slots=True)
class Undelivered:
    database: Database
    clock: Clock

    async def of(self, task_id: UUID) -> dict[int, bytes]:
        """Each output's bytes by its index; the caller has seen whose task it is."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT output_index, content FROM generation.undelivered"
                " WHERE task_id = $1 AND expires_at > $2 ORDER BY output_index",
                *(task_id, self.clock.now()),
            )
        return {row["output_index"]: row["content"] for row in rows}

    async def run(self) -> None:
        """Forget what has expired, until cancelled."""
        while True:
            try:
                await self.sweep()
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                _log.warning("undelivered_not_swept", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> None:
        async with self.database.connection() as connection:
            await connection.execute(
                "DELETE FROM generation.undelivered WHERE expires_at <= $1", self.clock.now()
            )
