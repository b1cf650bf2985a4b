"""Keeps what users bring: room is reserved, then the object put, then all of it told in one commit.

All or nothing: whatever breaks it, the upload ends, its room is given back, and its objects are
named as unwanted in the commit that ends it. What a killed process leaves is a row whose lease runs
out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from kernel.clock import new_id
from kernel.errors import Error, Invalid, NotFound, Rejected, Unavailable
from kernel.event_store import EventStore
from kernel.objects import ObjectStore, StoredObject
from kernel.sql import DATABASE_AWAY
from kernel.unit import Unit
from services.storage.adapters.accepting import Accepted, Accepting, Brought
from services.storage.adapters.leasing import leased
from services.storage.adapters.media import THUMBNAIL_TYPE, digest_of
from services.storage.adapters.plans import record_plan
from services.storage.adapters.quotas import (
    GUARDED_TABLE,
    quota_exceeded,
    record_room,
    room_of,
)
from services.storage.adapters.unwanted import Unwanted, record_unwanted
from services.storage.adapters.uploads import (
    FENCED_TABLE,
    LEASE,
    LINK_GRACE,
    OpenUpload,
    OpenUploads,
    Owner,
    opened,
    record_begun,
    record_closed,
)
from services.storage.domain import (
    UPLOAD,
    UPLOADS,
    BeginUpload,
    EndUpload,
    KeepUpload,
    Quotas,
    StoredFile,
    UploadStatus,
    staging_key,
    upload_thumbnail_key,
)

RENEW_EVERY_S: Final = LEASE.total_seconds() / 3
FAILED: Final = "failed"

_log = structlog.get_logger(__name__)

AlsoBegun = Callable[[Unit, UUID], Awaitable[None]]
"""What is to commit with the beginning of an upload of that id."""


class Intake:
    """`unwanted` deletes what nobody is to have."""

    def __init__(
        self,
        store: EventStore,
        objects: ObjectStore,
        accepting: Accepting,
        unwanted: Unwanted,
        quotas: Quotas,
    ) -> None:
        self._store = store
        self._objects = objects
        self._accepting = accepting
        self._unwanted = unwanted
        self._quotas = quotas
        self.open = OpenUploads(store.database)

    async def room_bytes(self, owner: Owner) -> int:
        """How many bytes the user may still bring: one at least, or `TooLarge`
        (`quota_exceeded`)."""
        quota = self._quotas.of(owner.plan)
        room = await room_of(self._store.database, owner.user_id)
        if room.taken_bytes >= quota:
            raise quota_exceeded(room, quota, 1)
        return quota - room.taken_bytes

    async def keep(
        self, owner: Owner, accepted: Accepted, also: AlsoBegun | None = None
    ) -> StoredFile:
        """The file, from now on the user's. Raises `TooLarge` (`quota_exceeded`)."""
        facts, now = accepted.facts, self._store.clock.now()
        upload = opened(owner, facts.mime_type, facts.size, now)
        await self._begin(upload, also)
        try:
            return await self._finish(upload, accepted)
        except BaseException:  # also when the process is told to end: nothing half done stays
            await _to_the_end(self.end(upload, FAILED))
            raise

    async def open_link(
        self, owner: Owner, mime_type: str, size: int, link_until: datetime
    ) -> OpenUpload:
        """Room for what is to be put by a link. Raises `TooLarge` (`quota_exceeded`)."""
        upload = opened(owner, mime_type, size, self._store.clock.now())
        upload = replace(
            upload,
            staging_key=staging_key(upload.upload_id, mime_type),
            lease_until=link_until + LINK_GRACE,
            link_until=link_until,
        )
        await self._begin(upload, None)
        return upload

    async def confirm(self, user_id: UUID, upload_id: UUID) -> StoredFile:
        """Keep what was put by that user's link.

        What is not as it was announced, or not to be kept, ends the upload.

        Raises:
            NotFound: the user has begun no such upload.
            Rejected: nothing was put yet, it is being confirmed, or it has ended.
            Error: as `Accepting.accepted` does; `TooLarge` (`quota_exceeded`).
        """
        upload = await self.open.claim(user_id, upload_id, self._store.clock.now())
        if upload is None:
            raise await self._why_not(user_id, upload_id)
        return await self.confirm_claimed(upload)

    async def confirm_claimed(self, upload: OpenUpload) -> StoredFile:
        """As `confirm`, of what the caller has claimed already."""
        try:
            return await self._confirmed(upload)
        except (Rejected, Unavailable, NotFound):
            await self.open.release(upload)
            raise
        except Error as refused:
            await self.end(upload, refused.code)
            raise
        except BaseException:  # a fault of ours: the link's file stays, and can be confirmed later
            with suppress(*DATABASE_AWAY):
                await _to_the_end(self.open.release(upload))
            raise

    async def kept_key(self, upload_id: UUID) -> str | None:
        """Empty for an upload that was not kept, or was deleted; None while that is not known."""
        state, _ = await self._store.read(UPLOAD, UPLOAD.stream_id(upload_id))
        if state.status == UploadStatus.BEGUN:
            return None
        return state.key if state.status == UploadStatus.KEPT else ""

    async def end(self, upload: OpenUpload, reason: str) -> None:
        """Keep nothing of it and give its room back, if it has not ended: what was kept after all
        stays."""
        keys = [upload.key, upload_thumbnail_key(upload.upload_id)]

        async def work(unit: Unit) -> bool:
            stream_id = UPLOAD.stream_id(upload.upload_id)
            recorded = await unit.decide(UPLOADS, stream_id, EndUpload(reason))
            if recorded:
                record_room(unit, recorded)
                record_closed(unit, upload)
                # Who was overtaken may still be putting them.
                record_unwanted(unit, keys, again_at=unit.now + 2 * LEASE)
                _record_staging_unwanted(unit, upload)
            return bool(recorded)

        try:
            if await self._store.transact(work):
                staged = [] if upload.staging_key is None else [upload.staging_key]
                await self._unwanted.delete_now([*keys, *staged])
                _log.info("upload_ended", reason=reason, upload_id=str(upload.upload_id))
        except (*DATABASE_AWAY, asyncpg.NotNullViolationError, Error) as error:
            # Its lease runs out, or another has it.
            _log.warning("upload_not_ended", error=type(error).__name__)

    async def _confirmed(self, upload: OpenUpload) -> StoredFile:
        assert upload.staging_key is not None
        path = self._objects.incoming / f"{new_id().hex}.staged"
        try:
            async with self._leased(upload):
                stored = await self._staged(upload.staging_key, path)
                if stored.size_bytes != upload.reserved_bytes:
                    raise Invalid(
                        "wrong_size",
                        f"{stored.size_bytes} bytes were put, not {upload.reserved_bytes}.",
                        {"field": "size"},
                    )
                sha256 = await asyncio.to_thread(digest_of, path)
                brought = Brought(path, stored.size_bytes, sha256)
                async with self._accepting.accepted(brought, upload.mime_type) as accepted:
                    return await self._finish(upload, accepted)
        finally:
            path.unlink(missing_ok=True)

    async def _staged(self, key: str, path: Path) -> StoredObject:
        try:
            return await self._objects.fetch(key, path)
        except NotFound:
            raise Rejected("nothing_uploaded", "Nothing has been put there yet.") from None

    async def _why_not(self, user_id: UUID, upload_id: UUID) -> Error:
        if await self.open.of(user_id, upload_id) is not None:
            return Rejected(
                "confirm_in_progress", "It is being looked at already.", retry_after_s=1
            )
        if await self.open.was_begun_by(user_id, upload_id):
            return Rejected("upload_ended", "This upload has ended.")
        return NotFound("file_not_found", "There is no such file.")

    async def _begin(self, upload: OpenUpload, also: AlsoBegun | None) -> None:
        command = BeginUpload(
            upload.upload_id, upload.user_id, upload.account_id, upload.reserved_bytes
        )

        async def work(unit: Unit) -> None:
            if also is not None:
                await also(unit, upload.upload_id)
            recorded = await unit.decide(UPLOADS, UPLOAD.stream_id(upload.upload_id), command)
            record_room(unit, recorded, self._quotas.of(upload.plan))
            record_begun(unit, upload)
            record_plan(unit, upload.user_id, upload.account_id, upload.plan)

        await self._within_quota(upload, work, upload.reserved_bytes)

    async def _finish(self, upload: OpenUpload, accepted: Accepted) -> StoredFile:
        """Put the object and its small picture, then commit."""
        facts, small = accepted.facts, None
        async with self._leased(upload):
            if accepted.thumbnail is not None:
                small = upload_thumbnail_key(upload.upload_id)
                await self._objects.put_file(small, accepted.thumbnail, THUMBNAIL_TYPE)
            await self._objects.put_file(upload.key, accepted.path, facts.mime_type, give=True)
            file = facts.kept_as(upload.key, small)
            await self._keep(upload, file)
        return file

    async def _keep(self, upload: OpenUpload, file: StoredFile) -> None:
        async def work(unit: Unit) -> None:
            stream_id = UPLOAD.stream_id(upload.upload_id)
            recorded = await unit.decide(UPLOADS, stream_id, KeepUpload(file))
            record_room(unit, recorded, self._quotas.of(upload.plan))
            record_closed(unit, upload)
            _record_staging_unwanted(unit, upload)

        await self._within_quota(upload, work, file.size)
        self._unwanted.hasten()
        _log.info("file_uploaded", size_bytes=file.size, upload_id=str(upload.upload_id))

    async def _within_quota(
        self, upload: OpenUpload, work: Callable[[Unit], Awaitable[None]], requested: int
    ) -> None:
        try:
            await self._store.transact(work)
        except asyncpg.NotNullViolationError as error:
            if error.table_name == GUARDED_TABLE:
                room = await room_of(self._store.database, upload.user_id)
                quota = self._quotas.of(upload.plan)
                raise quota_exceeded(room, quota, requested) from None
            if error.table_name == FENCED_TABLE:
                raise Unavailable(
                    "overtaken", "Somebody else has taken this upload up.", retry_after_s=1
                ) from None
            raise

    def _leased(self, upload: OpenUpload) -> AbstractAsyncContextManager[None]:
        async def renew() -> None:
            await self.open.renew(upload, self._store.clock.now())

        return leased(renew, RENEW_EVERY_S)


def _record_staging_unwanted(unit: Unit, upload: OpenUpload) -> None:
    """Until its link ends, somebody may still put the object there."""
    if upload.staging_key is not None:
        link_until = upload.link_until or unit.now
        again_at = max(link_until, unit.now) + LINK_GRACE
        record_unwanted(unit, [upload.staging_key], again_at=again_at)


async def _to_the_end(work: Awaitable[None]) -> None:
    """Even if whoever waits for it is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    await asyncio.shield(task)
