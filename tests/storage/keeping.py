"""Files as storage keeps them, made without bytes of any kind: objects, events, rooms and rows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.objects import LocalObjectStore
from kernel.projections import ensure
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from services.storage.adapters.quotas import record_room
from services.storage.adapters.uploads import LEASE, OpenUpload, record_begun, record_closed
from services.storage.app import AGGREGATES
from services.storage.domain import (
    OUTPUTS,
    UPLOAD,
    UPLOADS,
    BeginUpload,
    DeleteUpload,
    EraseOutput,
    ExpectOutput,
    KeepOutput,
    KeepUpload,
    StoredFile,
    output_key,
    staging_key,
    stream_of,
    thumbnail_key,
    upload_key,
    upload_thumbnail_key,
)
from services.storage.outbox import announce
from services.storage.read_model import READ_MODEL, project

USER = UUID(int=0xB2)
OTHER = UUID(int=0xC3)
PNG = "image/png"


def facts(key: str, size: int, thumbnail: str | None = None, mime_type: str = PNG) -> StoredFile:
    return StoredFile(key, mime_type, size, "ab" * 32, 64, 48, None, thumbnail)


@dataclass
class Kept:
    """A storage whose clock is turned by hand."""

    store: EventStore
    objects: LocalObjectStore
    clock: FakeClock
    root: Path

    @property
    def database(self) -> Database:
        return self.store.database

    async def upload(self, user_id: UUID = USER, size: int = 100, *, objects: bool = True) -> UUID:
        """A kept one with a thumbnail."""
        upload = await self.begin(user_id, size)
        thumbnail = upload_thumbnail_key(upload.upload_id)
        if objects:
            await self.objects.put_bytes(upload.key, bytes(size))
            await self.objects.put_bytes(thumbnail, b"small")
        await self.keep(upload, size, thumbnail)
        return upload.upload_id

    async def begin(
        self, user_id: UUID = USER, size: int = 100, *, link_s: float | None = None
    ) -> OpenUpload:
        """One that is on its way, through us or by a link that lasts so long."""
        now, upload_id = self.clock.now(), new_id()
        link_until = None if link_s is None else now + timedelta(seconds=link_s)
        upload = OpenUpload(
            upload_id=upload_id,
            user_id=user_id,
            account_id=user_id,
            plan="free",
            key=upload_key(upload_id, PNG),
            staging_key=None if link_until is None else staging_key(upload_id, PNG),
            mime_type=PNG,
            reserved_bytes=size,
            claims=0,
            lease_until=(link_until or now) + LEASE,
            link_until=link_until,
            created_at=now,
        )

        async def work(unit: Unit) -> None:
            command = BeginUpload(upload_id, user_id, user_id, size)
            recorded = await unit.decide(UPLOADS, UPLOAD.stream_id(upload_id), command)
            record_room(unit, recorded)
            record_begun(unit, upload)

        await self.store.transact(work)
        return upload

    async def keep(self, upload: OpenUpload, size: int, thumbnail: str | None = None) -> None:
        async def work(unit: Unit) -> None:
            command = KeepUpload(facts(upload.key, size, thumbnail))
            stream_id = UPLOAD.stream_id(upload.upload_id)
            recorded = await unit.decide(UPLOADS, stream_id, command)
            record_room(unit, recorded)
            record_closed(unit, upload)

        await self.store.transact(work)

    async def drop_upload(self, upload_id: UUID) -> None:
        """Its record alone: its objects stay."""

        async def work(unit: Unit) -> None:
            command = DeleteUpload("deleted")
            recorded = await unit.decide(UPLOADS, UPLOAD.stream_id(upload_id), command)
            record_room(unit, recorded)

        await self.store.transact(work)

    async def expect(self, user_id: UUID = USER, *, account_id: UUID | None = USER) -> UUID:
        task_id = new_id()
        command = ExpectOutput(
            task_id, user_id, 0, "image", 64, 48, mime_type=PNG, account_id=account_id
        )
        await self.store.handle(OUTPUTS, stream_of(task_id, 0), command)
        return task_id

    async def output(
        self, user_id: UUID = USER, size: int = 100, *, account_id: UUID | None = USER
    ) -> UUID:
        """A stored one with a thumbnail."""
        task_id = await self.expect(user_id, account_id=account_id)
        key, thumbnail = output_key(user_id, task_id, 0, PNG), thumbnail_key(task_id, 0)
        await self.objects.put_bytes(key, bytes(size))
        await self.objects.put_bytes(thumbnail, b"small")

        async def work(unit: Unit) -> None:
            command = KeepOutput(facts(key, size, thumbnail))
            recorded = await unit.decide(OUTPUTS, stream_of(task_id, 0), command)
            record_room(unit, recorded)

        await self.store.transact(work)
        return task_id

    async def drop_output(self, task_id: UUID) -> None:
        """Its record alone."""

        async def work(unit: Unit) -> None:
            recorded = await unit.decide(OUTPUTS, stream_of(task_id, 0), EraseOutput())
            record_room(unit, recorded)

        await self.store.transact(work)

    async def run(self, statement: str, *values: Any) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)

    async def rows(self, query: str, *values: Any) -> Sequence[Any]:
        async with self.database.connection() as connection:
            return await connection.fetch(query, *values)

    def names(self) -> list[str]:
        """Every object."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        keys = (path.relative_to(self.root).as_posix() for path in found)
        return sorted(key for key in keys if not key.startswith("."))

    async def said(self, kind: str) -> list[dict[str, Any]]:
        """What the outbox says of that type, in order."""
        rows = await self.rows(
            "SELECT envelope FROM storage.outbox WHERE envelope->>'type' LIKE '%' || $1"
            " ORDER BY id",
            kind,
        )
        return [row["envelope"]["data"] for row in rows]


@pytest.fixture
async def kept(database: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Kept]:
    async with database.connection() as connection:
        await ensure(connection, READ_MODEL)
    store = EventStore(
        database, "storage", AGGREGATES, clock=clock, announce=announce, project=project
    )
    root = await asyncio.to_thread(_made, tmp_path / "objects")
    objects = LocalObjectStore(root)
    yield Kept(store, objects, clock, root)
    objects.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
