"""Deletes files that are older than their user's plan keeps them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from kernel.clock import Clock
from kernel.sql import Database
from services.storage.adapters.deleting import Deleting, KeptFile
from services.storage.domain import EXPIRED, Retention

ROUND: Final = "retention"
EVERY: Final = timedelta(hours=1)
BATCH: Final = 200

_OLD: Final = """
    SELECT file.key, file.user_id, file.upload_id, file.task_id, file.output_index,
        file.facts->>'thumbnail_key' AS thumbnail_key, file.created_at, plan.plan
    FROM storage_read.files AS file LEFT JOIN storage.plans AS plan USING (user_id)
    WHERE file.created_at <= $1 AND (file.created_at, file.key) > ($2, $3)
    ORDER BY file.created_at, file.key LIMIT $4"""

_log = structlog.get_logger(__name__)


class Expiry:
    def __init__(
        self, database: Database, deleting: Deleting, retention: Retention, clock: Clock
    ) -> None:
        self._database = database
        self._deleting = deleting
        self._retention = retention
        self._clock = clock

    async def delete_old(self) -> None:
        """Page by page, the oldest first."""
        shortest = self._retention.shortest
        if shortest is None:
            return
        now = self._clock.now()
        after: tuple[datetime, str] = (datetime.min.replace(tzinfo=UTC), "")
        deleted = 0
        while rows := await self._page(now - shortest, after):
            for row in rows:
                kept_for = self._retention.of(row["plan"])
                if kept_for is not None and row["created_at"] <= now - kept_for:
                    deleted += await self._deleting.delete(_file_of(row), EXPIRED)
            after = (rows[-1]["created_at"], rows[-1]["key"])
        if deleted:
            _log.info("files_expired", files=deleted)

    async def _page(self, until: datetime, after: tuple[datetime, str]) -> Sequence[Any]:
        async with self._database.connection() as connection:
            rows: Sequence[Any] = await connection.fetch(_OLD, *(until, *after, BATCH))
        return rows


def _file_of(row: Any) -> KeptFile:
    return KeptFile(
        user_id=row["user_id"],
        key=row["key"],
        thumbnail_key=row["thumbnail_key"],
        upload_id=row["upload_id"],
        task_id=row["task_id"],
        output_index=row["output_index"],
    )
