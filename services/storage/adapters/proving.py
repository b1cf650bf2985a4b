"""Proves that nothing of an erased user is left: every key that they ever had is asked for in the
object store, their folders are listed, and no table has a row of theirs.

A key that somebody may still put (a link, a process that was overtaken) is asked for when that is
over, so a proof may take as long as a link lasts.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from kernel.clock import Clock
from kernel.errors import NotFound
from kernel.objects import ObjectStore
from kernel.sql import Database
from services.storage.domain import thumbnail_of

BATCH: Final = 50
FOLDERS: Final = ("images", "videos", "audio")

_CHECK: Final = """
    INSERT INTO storage.erasure_checks AS known (user_id, key, not_before)
    SELECT $1, key, $3 FROM unnest($2::text[]) AS key
    ON CONFLICT (user_id, key) DO UPDATE
    SET not_before = greatest(known.not_before, excluded.not_before)"""
_TAKE_STAYS: Final = """
    DELETE FROM storage_read.stays WHERE key = ANY(ARRAY(
        SELECT key FROM storage_read.stays WHERE user_id = $1 AND until IS NOT NULL
        LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING key"""
_DUE: Final = """
    SELECT key FROM storage.erasure_checks WHERE user_id = $1 AND not_before <= $2 LIMIT $3"""
_IS_LEFT: Final = """
    SELECT EXISTS (SELECT FROM storage.erasure_checks WHERE user_id = $1)
        OR EXISTS (SELECT FROM storage.uploads WHERE user_id = $1)
        OR EXISTS (SELECT FROM storage.output_fetches WHERE user_id = $1)
        OR EXISTS (SELECT FROM storage_read.files WHERE user_id = $1)
        OR EXISTS (SELECT FROM storage_read.stays WHERE user_id = $1)"""
_UNWANTED: Final = r"""
    SELECT EXISTS (
        SELECT FROM storage.unwanted_objects AS object,
            regexp_match(object.key, '([0-9a-f]{32})(?:_(\d+))?\.[a-z0-9]+$') AS name
        JOIN storage.streams AS stream ON stream.stream_id IN (
            'upload-' || name[1]::uuid, 'output-' || name[1]::uuid || '-' || coalesce(name[2], '0'))
        WHERE stream.state->>'user_id' = $1::text)"""

_log = structlog.get_logger(__name__)


class Proving:
    """The table `erasure_checks`, and what `erasures` says of proofs."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock

    async def expect_gone(self, user_id: UUID, keys: Iterable[str], not_before: datetime) -> None:
        """To be asked for, at that time at the earliest."""
        async with self._database.connection() as connection:
            await connection.execute(_CHECK, *(user_id, list(keys), not_before))

    async def take_stays(self, user_id: UUID) -> bool:
        """Some of the files that the user ever had and that are gone by the tables: they are to be
        asked for, and where they lay is forgotten. Whether there were any."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_TAKE_STAYS, *(user_id, BATCH))
            keys = [row["key"] for row in rows]
            small = [name for name in map(thumbnail_of, keys) if name is not None]
            if keys:
                await connection.execute(_CHECK, *(user_id, keys + small, self._clock.now()))
        return bool(keys)

    async def ask(self, user_id: UUID) -> bool:
        """For some objects that must be gone; what is there all the same is deleted, and asked for
        again. Whether any was due."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DUE, *(user_id, self._clock.now(), BATCH))
        keys = [row["key"] for row in rows]
        gone = [key for key in keys if await self._is_gone(key)]
        if gone:
            await self._count(user_id, gone)
        return bool(keys)

    async def prove(self, user_id: UUID) -> bool:
        """Whether nothing is left, and noted so with the last records of the user."""
        if await self._is_anything_left(user_id) or await self._found_in_folders(user_id):
            return False
        async with self._database.transaction() as connection:
            for table in ("storage.quotas", "storage.plans"):
                await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", user_id)
            await connection.execute(
                "DELETE FROM storage.idempotency WHERE principal = $1", str(user_id)
            )
            objects = await connection.fetchval(
                "UPDATE storage.erasures SET proven_at = $2 WHERE user_id = $1 RETURNING objects",
                *(user_id, self._clock.now()),
            )
        _log.info("erasure_proven", objects=objects)
        return True

    async def _is_gone(self, key: str) -> bool:
        await self._objects.delete(key)
        try:
            await self._objects.stat(key)
        except NotFound:
            return True
        return False

    async def _count(self, user_id: UUID, gone: Sequence[str]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                "DELETE FROM storage.erasure_checks WHERE user_id = $1 AND key = ANY($2::text[])",
                *(user_id, gone),
            )
            await connection.execute(
                "UPDATE storage.erasures SET objects = objects + $2 WHERE user_id = $1",
                *(user_id, len(gone)),
            )

    async def _is_anything_left(self, user_id: UUID) -> bool:
        async with self._database.connection() as connection:
            if await connection.fetchval(_IS_LEFT, user_id):
                return True
            return bool(await connection.fetchval(_UNWANTED, str(user_id)))

    async def _found_in_folders(self, user_id: UUID) -> bool:
        """Nothing may be there; what is, is deleted."""
        found = False
        for folder in FOLDERS:
            async for each in self._objects.listed(f"{folder}/generated/{user_id.hex}/"):
                await self._objects.delete(each.key)
                found = True
        return found
