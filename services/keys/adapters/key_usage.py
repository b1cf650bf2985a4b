"""Who used which key of late: a record that gateways add to every few seconds; no key is in it.

Addresses and agents are a person's, so they go when their key is deleted, when the key's user is
erased, when twenty others have used it since, and after ninety days.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from kernel.clock import Clock
from kernel.sql import DATABASE_AWAY, Database
from kernel.unit import Unit

CLIENTS_MAX: Final = 20
"""Of one key."""
KEPT_FOR: Final = timedelta(days=90)
DELETE_BATCH: Final = 10_000
SWEEP_EVERY_S: Final = 3_600.0

_log = structlog.get_logger(__name__)

# Sorted, so that two gateways that tell of the same clients never wait for each other in a ring.
_ADD: Final = """
    INSERT INTO keys.key_usage AS known
        (key_id, address, agent, first_used_at, last_used_at, requests)
    SELECT told.key_id, told.address, told.agent,
        min(least(told.used_at, $6)), max(least(told.used_at, $6)), sum(told.requests)
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
        AS told (key_id, address, agent, used_at, requests)
    JOIN keys_read.api_keys_v2 AS key ON key.key_id = told.key_id AND key.deleted_at IS NULL
    JOIN keys_read.identities AS owner ON owner.user_id = key.user_id AND owner.status <> 'erased'
    GROUP BY told.key_id, told.address, told.agent
    ORDER BY told.key_id, told.address, told.agent
    ON CONFLICT (key_id, address, agent) DO UPDATE SET
        first_used_at = least(known.first_used_at, excluded.first_used_at),
        last_used_at = greatest(known.last_used_at, excluded.last_used_at),
        requests = known.requests + excluded.requests
    RETURNING key_id"""
# What somebody else is writing right now is not among the oldest, or goes the next time.
_TRIM: Final = f"""
    DELETE FROM keys.key_usage WHERE ctid = ANY(ARRAY(
        SELECT surplus.ctid FROM keys.key_usage AS surplus JOIN (
            SELECT key_id, address, agent, row_number() OVER (
                PARTITION BY key_id ORDER BY last_used_at DESC, address, agent) AS nth
            FROM keys.key_usage WHERE key_id = ANY($1::uuid[])
        ) AS ranked USING (key_id, address, agent)
        WHERE ranked.nth > {CLIENTS_MAX} FOR UPDATE OF surplus SKIP LOCKED))"""
_RECENT: Final = f"""
    SELECT address, agent, last_used_at, requests FROM keys.key_usage WHERE key_id = $1
    ORDER BY last_used_at DESC, address, agent LIMIT {CLIENTS_MAX}"""
_LAST_USED: Final = """
    SELECT key_id, max(last_used_at) AS last_used_at FROM keys.key_usage
    WHERE key_id = ANY($1::uuid[]) GROUP BY key_id"""
_SWEEP: Final = f"""
    DELETE FROM keys.key_usage WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM keys.key_usage WHERE last_used_at < $1 LIMIT {DELETE_BATCH}))"""


class Use(NamedTuple):
    """`requests` that came with a key from one client, the last of them at `last_used_at`."""

    key_id: UUID
    address: str
    agent: str
    last_used_at: datetime
    requests: int


class KeyUsage:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, uses: Sequence[Use]) -> None:
        """Count what is told; of keys that are not there, nothing. A time to come counts as now."""
        if not uses:
            return
        columns = [list(column) for column in zip(*uses, strict=True)]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_ADD, *columns, self._clock.now())
            await connection.execute(_TRIM, list({row["key_id"] for row in rows}))

    async def recent(self, key_id: UUID) -> list[asyncpg.Record]:
        """The clients that used a key, the latest first; at most `CLIENTS_MAX`."""
        async with self._database.connection() as connection:
            return await connection.fetch(_RECENT, key_id)

    async def last_used(self, key_ids: Sequence[UUID]) -> dict[UUID, datetime]:
        """When each key was used last, of those that were within `KEPT_FOR`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LAST_USED, key_ids)
        return {row["key_id"]: row["last_used_at"] for row in rows}

    def forget(self, unit: Unit, key_id: UUID) -> None:
        """Who used the key is nobody's business once it is deleted."""
        unit.record_sql("DELETE FROM keys.key_usage WHERE key_id = $1", key_id)

    async def run(self) -> None:
        """Sweep each hour until cancelled."""
        while True:
            try:
                while await self.sweep() == DELETE_BATCH:
                    pass
            except (*DATABASE_AWAY, TimeoutError) as error:
                _log.warning("key_usage_sweep_failed", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> int:
        """Delete what is older than `KEPT_FOR`, at most `DELETE_BATCH` rows; how many."""
        async with self._database.connection() as connection:
            tag = await connection.execute(_SWEEP, self._clock.now() - KEPT_FOR)
        return int(tag.rpartition(" ")[2])
