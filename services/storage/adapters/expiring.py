"""Ends uploads whose lease has run out: those of a process that died, and links that nobody used.

What was put by a link is looked at and kept, as if its user had confirmed it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from kernel.clock import Clock
from kernel.errors import Error, Rejected
from kernel.sql import DATABASE_AWAY, Database
from services.storage.adapters.intake import FAILED, Intake
from services.storage.adapters.uploads import OpenUpload
from services.storage.domain import EXPIRED

BATCH: Final = 8
POLL_EVERY_S: Final = 2.0
CLAIMS_MAX: Final = 16
"""What was taken up so often, and never ended, is not to be had."""
ABANDONED: Final = "abandoned"

_log = structlog.get_logger(__name__)


class Expiring:
    def __init__(self, database: Database, intake: Intake, clock: Clock) -> None:
        self._database = database
        self._intake = intake
        self._clock = clock

    async def void_leases(self) -> None:
        """For the start of a process that shares its database with no other: who leased is dead."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await connection.execute(
                "UPDATE storage.uploads SET lease_until = $1::timestamptz - interval '1 second'"
                " WHERE staging_key IS NULL AND lease_until >= $1",
                now,
            )
            await connection.execute(
                "UPDATE storage.uploads SET claimed_until = NULL WHERE claimed_until IS NOT NULL"
            )

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                while await self.end_expired() == BATCH:
                    pass
            except (*DATABASE_AWAY, asyncpg.PostgresError, TimeoutError) as error:
                _log.warning("uploads_not_read", error=type(error).__name__)
            await asyncio.sleep(POLL_EVERY_S)

    async def end_expired(self) -> int:
        """Some of them; how many there were."""
        expired: Sequence[OpenUpload] = await self._intake.open.claim_expired(
            self._clock.now(), BATCH
        )
        for upload in expired:
            await self._end(upload)
        return len(expired)

    async def _end(self, upload: OpenUpload) -> None:
        if upload.staging_key is None:
            await self._intake.end(upload, ABANDONED)
            return
        if upload.claims > CLAIMS_MAX:
            await self._intake.end(upload, FAILED)
            return
        try:
            await self._intake.confirm_claimed(upload)
        except Rejected as nothing:
            _log.info("link_not_used", code=nothing.code, upload_id=str(upload.upload_id))
            await self._intake.end(upload, EXPIRED)
        except Error as refused:
            _log.info("put_not_kept", code=refused.code, upload_id=str(upload.upload_id))
        except Exception as error:  # noqa: BLE001 - one file, or a store that is away, must not keep all others waiting; it is taken up again after its lease
            _log.warning("put_not_looked_at", error=type(error).__name__)
