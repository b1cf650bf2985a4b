"""Idempotency-Key: the first answer again, for a day, whatever died in between.

The claim commits with the effect, so a key whose effect committed never has it twice; the answer is
written when it is known. A claim without an answer is in progress, or its process has died (that is
known after `IN_PROGRESS_FOR`, or at once by a process that shares its database with no other): then
the caller finds its resource and answers from that.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from fastapi import Request

from kernel.clock import Clock
from kernel.errors import Invalid, Rejected
from kernel.sql import DATABASE_AWAY, Connection, Database
from kernel.unit import Unit

KEPT_FOR = timedelta(hours=24)
IN_PROGRESS_FOR = timedelta(seconds=30)
DELETE_BATCH = 10_000
SWEEP_EVERY_S = 3_600.0
_log = structlog.get_logger(__name__)
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request under a key: `principal` is who asks, `route` what for, as a template."""

    principal: str
    route: str
    key: str
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """The first answer."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Resumed:
    """The effect happened, its answer was lost: `resource` names what to answer from."""

    resource: str


async def idempotency_key(
    request: Request, principal: str, body_sha256: bytes | None = None
) -> Attempt | None:
    """The request's attempt, or None without the header. Raises `Invalid`.

    A body that was received already, as it streamed, is known by its hash.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _PRINTABLE.fullmatch(key):
        raise Invalid(
            "invalid_idempotency_key",
            "Idempotency-Key takes 1 to 255 printable characters.",
            {"field": "Idempotency-Key"},
        )
    route = f"{request.method} {request.scope['route'].path}"
    if body_sha256 is None:
        body_sha256 = hashlib.sha256(await request.body()).digest()
    return Attempt(principal, route, key, body_sha256)


class Idempotency:
    """The `idempotency` records of one service's schema."""

    def __init__(
        self, database: Database, schema: str, clock: Clock, *, sole_owner: bool = False
    ) -> None:
        """With `sole_owner` no other process answers requests: who claimed before now is dead."""
        self._database = database
        self._table = f"{schema}.idempotency"
        self._clock = clock
        self._alone_since = clock.now() if sole_owner else None

    async def earlier(self, attempt: Attempt | None) -> Replay | Resumed | None:
        """What the key has led to before. Raises `Invalid` (other body), `Rejected` (running)."""
        if attempt is None:
            return None
        async with self._database.connection() as connection:
            return await self._find(connection, attempt)

    async def claim(self, unit: Unit, attempt: Attempt | None, resource: str) -> None:
        """Take the key in the unit's transaction. Raises as `earlier` when it is taken."""
        if attempt is None:
            return
        if await self._find(unit.connection, attempt) is not None:
            raise _in_progress()
        unit.record_sql(
            f"DELETE FROM {self._table}"
            " WHERE principal = $1 AND route = $2 AND key = $3 AND created_at < $4",
            *(attempt.principal, attempt.route, attempt.key),
            self._clock.now() - KEPT_FOR,
        )
        unit.record_sql(
            f"INSERT INTO {self._table} (principal, route, key, body_sha256, resource, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            *(attempt.principal, attempt.route, attempt.key, attempt.body_sha256),
            resource,
            self._clock.now(),
        )

    async def answered(self, attempt: Attempt | None, status: int, body: Any) -> None:
        """Keep the answer for repeats. `body` must hold no secret."""
        if attempt is None:
            return
        async with self._database.connection() as connection:
            await connection.execute(
                f"UPDATE {self._table} SET status = $4, response = $5"
                " WHERE principal = $1 AND route = $2 AND key = $3 AND status IS NULL",
                *(attempt.principal, attempt.route, attempt.key, status, body),
            )

    async def forget(self, attempt: Attempt | None, resource: str) -> None:
        """Give the key back: nothing came of it, so a repeat may try anew.

        Only the claim for `resource`: another request may have taken the key meanwhile.
        """
        if attempt is None:
            return
        async with self._database.connection() as connection:
            await connection.execute(
                f"DELETE FROM {self._table}"
                " WHERE principal = $1 AND route = $2 AND key = $3 AND status IS NULL"
                " AND resource = $4",
                *(attempt.principal, attempt.route, attempt.key, resource),
            )

    async def run(self) -> None:
        """Sweep each hour until cancelled."""
        while True:
            try:
                while await self.sweep() == DELETE_BATCH:
                    pass
            except (*DATABASE_AWAY, TimeoutError) as error:
                _log.warning("idempotency_sweep_failed", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> int:
        """Delete what is older than `KEPT_FOR`, at most `DELETE_BATCH` rows; how many."""
        async with self._database.connection() as connection:
            tag = await connection.execute(
                f"DELETE FROM {self._table} WHERE ctid = ANY(ARRAY("
                f"SELECT ctid FROM {self._table} WHERE created_at < $1 LIMIT {DELETE_BATCH}))",
                self._clock.now() - KEPT_FOR,
            )
        return int(tag.rpartition(" ")[2])

    async def _find(self, connection: Connection, attempt: Attempt) -> Replay | Resumed | None:
        row = await connection.fetchrow(
            f"SELECT body_sha256, resource, status, response, created_at FROM {self._table}"
            " WHERE principal = $1 AND route = $2 AND key = $3",
            *(attempt.principal, attempt.route, attempt.key),
        )
        now = self._clock.now()
        if row is None or row["created_at"] < now - KEPT_FOR:
            return None
        if row["body_sha256"] != attempt.body_sha256:
            raise Invalid(
                "idempotency_mismatch", "This Idempotency-Key came with another body before."
            )
        if row["status"] is not None:
            return Replay(row["status"], row["response"])
        orphaned = self._alone_since is not None and row["created_at"] < self._alone_since
        if row["created_at"] > now - IN_PROGRESS_FOR and not orphaned:
            raise _in_progress()
        return Resumed(row["resource"])


def _in_progress() -> Rejected:
    return Rejected(
        "idempotency_in_progress", "The first request with this key still runs.", retry_after_s=1
    )
