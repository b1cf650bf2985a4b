"""Looks for orphans in both directions: objects that no row names, rows whose object is not there,
and rooms that are not what lies in them. It changes nothing; who asked may delete the former.

Every object is listed once, into a table of this session, so memory here stays the same for any
number of them. What came or went meanwhile is looked at again before it counts.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from typing import Final
from uuid import UUID

from kernel.clock import Clock
from kernel.errors import NotFound
from kernel.objects import ObjectStore, StoredObject
from kernel.sql import Connection, Database
from services.storage.domain import FOLDERS, Owner, is_ours, is_wanted, streams_of_key

YOUNG: Final = timedelta(hours=1)
"""What is on its way is no orphan."""
CLAIMS: Final = "claims/"
"""Where generation leaves what came with a vendor's answer."""
UNHEARD_CLAIM: Final = timedelta(days=7)
"""The word of such an object may be late by as much."""
BATCH: Final = 500


class Kind(StrEnum):
    """What is without the other: an object without a row, a row without its object, a room
    without what it counts."""

    OBJECT = "object"
    ROW = "row"
    QUOTA = "quota"


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is an object's key, or a user's id; `fault` is a code."""

    kind: Kind
    fault: str
    name: str
    size: int = 0

    def words(self) -> str:
        size = f" ({self.size} bytes)" if self.size else ""
        return f"{self.kind}: {self.fault}: {self.name}{size}"


@dataclass(slots=True)
class Figures:
    """How much was looked at."""

    objects: int = 0
    files: int = 0
    users: int = 0

    def words(self) -> str:
        return f"{self.objects} objects, {self.files} files, {self.users} users"


_SEEN: Final = """
    CREATE TEMP TABLE IF NOT EXISTS seen_objects (key text PRIMARY KEY, size bigint NOT NULL)"""
_SEE: Final = """
    INSERT INTO pg_temp.seen_objects SELECT * FROM unnest($1::text[], $2::bigint[])
    ON CONFLICT DO NOTHING"""
_OWNERS: Final = """
    SELECT stream_id, state->>'status' AS status, coalesce(state->>'key', '') AS key
    FROM storage.streams WHERE stream_id = ANY($1::text[])"""
_UNWANTED: Final = "SELECT key FROM storage.unwanted_objects WHERE key = ANY($1::text[])"
_CLAIMS: Final = """
    SELECT object_key, bool_or(state = 'waiting') AS waits FROM storage.output_fetches
    WHERE object_key = ANY($1::text[]) GROUP BY object_key"""
_FILES: Final = """
    SELECT key, size, facts->>'thumbnail_key' AS thumbnail_key FROM storage_read.files
    WHERE key > $1 ORDER BY key LIMIT $2"""
_SEEN_OF: Final = "SELECT key, size FROM pg_temp.seen_objects WHERE key = ANY($1::text[])"
_STILL: Final = "SELECT size FROM storage_read.files WHERE key = $1"
_ROOMS: Final = """
    WITH page AS (
        SELECT user_id FROM (
            (SELECT user_id FROM storage.quotas WHERE user_id > $1 ORDER BY user_id LIMIT $2)
            UNION
            (SELECT DISTINCT user_id FROM storage_read.files WHERE user_id > $1
                ORDER BY user_id LIMIT $2)
            UNION
            (SELECT DISTINCT user_id FROM storage.uploads WHERE user_id > $1
                ORDER BY user_id LIMIT $2)) AS known
        ORDER BY user_id LIMIT $2)
    SELECT page.user_id,
        coalesce(room.used_bytes, 0) - coalesce(kept.bytes, 0) AS used_bytes,
        coalesce(room.files, 0) - coalesce(kept.files, 0) AS files,
        coalesce(room.reserved_bytes, 0) - coalesce(begun.bytes, 0) AS reserved_bytes
    FROM page LEFT JOIN storage.quotas AS room USING (user_id)
    LEFT JOIN LATERAL (SELECT sum(size)::bigint AS bytes, count(*) AS files
        FROM storage_read.files AS file WHERE file.user_id = page.user_id) AS kept ON true
    LEFT JOIN LATERAL (SELECT sum(upload.reserved_bytes)::bigint AS bytes
        FROM storage.uploads AS upload WHERE upload.user_id = page.user_id) AS begun ON true
    ORDER BY page.user_id"""
"""In one statement, which sees each commit whole: a room changes with what it counts."""


class Orphans:
    """One look at everything; `figures` say how far it came."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self.figures = Figures()

    async def found(self) -> AsyncIterator[Finding]:
        """What is wrong, as it is found."""
        async with self._session() as connection:
            async for page in self._pages():
                self.figures.objects += len(page)
                await connection.execute(
                    _SEE, [each.key for each in page], [each.size_bytes for each in page]
                )
                for each in await self._nameless(connection, page):
                    yield Finding(Kind.OBJECT, "no_row_names_it", each.key, each.size_bytes)
            async for finding in self._rows(connection):
                yield finding
            async for finding in self._rooms(connection):
                yield finding

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        async with self._database.connection() as connection:
            await connection.execute(f"{_SEEN}; TRUNCATE pg_temp.seen_objects")
            yield connection
            await connection.execute("TRUNCATE pg_temp.seen_objects")

    async def _pages(self) -> AsyncIterator[Sequence[StoredObject]]:
        page: list[StoredObject] = []
        for folder in (*FOLDERS, CLAIMS):
            async for each in self._objects.listed(folder):
                if is_ours(each.key, (*FOLDERS, CLAIMS)):
                    page.append(each)
                if len(page) == BATCH:
                    yield page
                    page = []
        if page:
            yield page

    async def _nameless(
        self, connection: Connection, page: Sequence[StoredObject]
    ) -> Sequence[StoredObject]:
        now = self._clock.now()
        old = [each for each in page if each.modified_at < now - YOUNG]
        if not old:
            return ()
        keys = [each.key for each in old]
        streams = list(chain.from_iterable(map(streams_of_key, keys)))
        owners = {
            row["stream_id"]: Owner(row["status"], row["key"])
            for row in await connection.fetch(_OWNERS, streams)
        }
        unwanted = {row["key"] for row in await connection.fetch(_UNWANTED, keys)}
        claims = [key for key in keys if key.startswith(CLAIMS)]
        waits = {row["object_key"]: row["waits"] for row in await connection.fetch(_CLAIMS, claims)}
        return [
            each
            for each in old
            if each.key not in unwanted
            and not _is_claimed(each, waits, now)
            and not is_wanted(each.key, owners)
        ]

    async def _rows(self, connection: Connection) -> AsyncIterator[Finding]:
        await connection.execute("ANALYZE pg_temp.seen_objects")
        after = ""
        while rows := await connection.fetch(_FILES, after, BATCH):
            self.figures.files += len(rows)
            keys = [row["key"] for row in rows]
            small = [row["thumbnail_key"] for row in rows if row["thumbnail_key"] is not None]
            seen = {
                row["key"]: row["size"] for row in await connection.fetch(_SEEN_OF, keys + small)
            }
            for row in rows:
                key, size, thumbnail = row
                if seen.get(key) != size and (fault := await self._fault(connection, key, size)):
                    yield Finding(Kind.ROW, fault, key, size)
                if thumbnail is None or thumbnail in seen:
                    continue
                if await self._size(thumbnail) is None and await self._is_still(connection, key):
                    yield Finding(Kind.ROW, "no_thumbnail", thumbnail)
            after = keys[-1]

    async def _fault(self, connection: Connection, key: str, size: int) -> str | None:
        found = await self._size(key)
        if found == size or not await self._is_still(connection, key):
            return None
        return "no_object" if found is None else "other_size"

    async def _size(self, key: str) -> int | None:
        try:
            return (await self._objects.stat(key)).size_bytes
        except NotFound:
            return None

    async def _is_still(self, connection: Connection, key: str) -> bool:
        return await connection.fetchval(_STILL, key) is not None

    async def _rooms(self, connection: Connection) -> AsyncIterator[Finding]:
        after = UUID(int=0)
        while rows := await connection.fetch(_ROOMS, after, BATCH):
            self.figures.users += len(rows)
            for row in rows:
                parts = ("used_bytes", "files", "reserved_bytes")
                drift = [f"{part} {row[part]:+d}" for part in parts if row[part]]
                if drift:
                    yield Finding(Kind.QUOTA, f"drift of {', '.join(drift)}", str(row["user_id"]))
            after = rows[-1]["user_id"]


def _is_claimed(each: StoredObject, waits: dict[str, bool], now: datetime) -> bool:
    """Whether somebody still has to fetch it, or may hear of it yet."""
    if not each.key.startswith(CLAIMS):
        return False
    return waits.get(each.key, each.modified_at >= now - UNHEARD_CLAIM)
