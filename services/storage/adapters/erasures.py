"""What is open and what is proven of the erasures, told and shown."""

from datetime import datetime
from typing import Final

from prometheus_client import Gauge

from kernel.clock import Clock
from kernel.sql import Database
from kernel.telemetry.metrics import REGISTRY
from services.storage.adapters.erasing import ERASED_WITHIN

ERASURES: Final = "storage.erasures"
TOLD_MAX: Final = 1_000
SERVICE: Final = "storage"

OLDEST: Final = Gauge(
    "smartspec_storage_erasure_oldest_age_seconds",
    "Age of the oldest erasure that is not proven; 0 when all are.",
    ("service",),
    registry=REGISTRY,
)

_OLDEST: Final = "SELECT min(since) FROM storage.erasures WHERE proven_at IS NULL"
_TOLD: Final = """
    SELECT user_id, since, proven_at, objects,
        (SELECT count(*) FROM storage.erasure_checks AS left_over
            WHERE left_over.user_id = erasure.user_id) AS left_over
    FROM storage.erasures AS erasure
    ORDER BY proven_at IS NOT NULL, since DESC LIMIT $1"""
_COUNTS: Final = """
    SELECT count(*) FILTER (WHERE proven_at IS NULL) AS open,
        count(*) FILTER (WHERE proven_at IS NOT NULL) AS proven
    FROM storage.erasures"""


class Erasures:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def show(self) -> None:
        """The gauge, from the table: each replica says the same."""
        OLDEST.labels(SERVICE).set(self._age_s(await self._oldest()))

    async def told(self) -> tuple[int, str]:
        """Each erasure in a line, the open ones first, at most `TOLD_MAX`; the exit status is 1
        where one is open for longer than `ERASED_WITHIN`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TOLD, TOLD_MAX)
            (counts,) = await connection.fetch(_COUNTS)
        lines = [
            f"erasures: {row['user_id']} since {row['since']:%Y-%m-%dT%H:%M:%SZ}: "
            + (
                f"open, {row['left_over']} keys to be asked for"
                if row["proven_at"] is None
                else f"proven at {row['proven_at']:%Y-%m-%dT%H:%M:%SZ}, {row['objects']} keys"
            )
            for row in rows
        ]
        is_overdue = self._age_s(await self._oldest()) > ERASED_WITHIN.total_seconds()
        overdue = ", the oldest overdue" if is_overdue else ""
        lines.append(f"erasures: {counts['open']} open{overdue}, {counts['proven']} proven")
        return (1 if is_overdue else 0), "\n".join(lines)

    async def _oldest(self) -> datetime | None:
        async with self._database.connection() as connection:
            since: datetime | None = await connection.fetchval(_OLDEST)
        return since

    def _age_s(self, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (self._clock.now() - since).total_seconds())
