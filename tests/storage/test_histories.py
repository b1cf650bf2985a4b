"""Whatever happened, in whatever order, and wherever a process died: what is left is whole."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from kernel.projections import rebuild, verify
from services.storage.adapters.deleting import KeptFile
from services.storage.adapters.quotas import Room, room_of
from services.storage.adapters.uploads import LEASE, OpenUpload
from services.storage.app import AGGREGATES
from services.storage.domain import output_key, thumbnail_key, upload_thumbnail_key
from services.storage.read_model import READ_MODEL
from tests.storage.keeping import OTHER, PNG, USER
from tests.storage.upkeep import Upkeep, upkeep

__all__ = ["upkeep"]

STEPS = 60
USERS = (USER, OTHER)


class History:
    """Steps that are drawn; what a dead process had in hand is let fall where it died."""

    def __init__(self, upkeep: Upkeep, seed: int) -> None:
        self.upkeep = upkeep
        self.draw = random.Random(seed)  # noqa: S311 - draws the steps of a test
        self.open: list[OpenUpload] = []

    async def go(self) -> None:
        steps: tuple[Callable[[UUID], Awaitable[None]], ...] = (
            *(self.begin, self.put_and_die, self.put_and_keep, self.store_output),
            *(self.die_storing, self.delete, self.delete_and_die, self.time_goes_on),
        )
        for _ in range(STEPS):
            await self.draw.choice(steps)(self.draw.choice(USERS))
        await self.upkeep.go_on(timedelta(hours=2), timedelta(minutes=5))

    async def begin(self, user_id: UUID) -> None:
        link_s = self.draw.choice((None, 60, 600))
        size = self.draw.randint(1, 1_000)
        self.open.append(await self.upkeep.files.begin(user_id, size, link_s=link_s))

    async def put_and_die(self, _: UUID) -> None:
        upload = self._taken()
        if upload is None:
            return
        for key in (upload.staging_key or upload.key, upload_thumbnail_key(upload.upload_id)):
            if self.draw.random() < 0.7:
                await self.upkeep.storage.objects.put_bytes(key, bytes(upload.reserved_bytes))

    async def put_and_keep(self, _: UUID) -> None:
        upload = self._taken()
        if upload is None or upload.lease_until <= self.upkeep.clock.now():
            return
        size = self.draw.randint(1, upload.reserved_bytes)
        small = upload_thumbnail_key(upload.upload_id)
        await self.upkeep.storage.objects.put_bytes(small, b"small")
        await self.upkeep.storage.objects.put_bytes(upload.key, bytes(size))
        await self.upkeep.files.keep(upload, size, small)

    async def store_output(self, user_id: UUID) -> None:
        await self.upkeep.files.output(user_id, self.draw.randint(1, 1_000))

    async def die_storing(self, user_id: UUID) -> None:
        task_id = await self.upkeep.files.expect(user_id)
        for key in (output_key(user_id, task_id, 0, PNG), thumbnail_key(task_id, 0)):
            if self.draw.random() < 0.7:
                await self.upkeep.storage.objects.put_bytes(key, b"half")

    async def delete(self, _: UUID) -> None:
        file = await self._drawn_file()
        if file is not None:
            await self.upkeep.deleting.delete(file, "deleted")

    async def delete_and_die(self, _: UUID) -> None:
        file = await self._drawn_file()
        if file is None:
            return
        with pytest.MonkeyPatch.context() as dying:
            dying.setattr(self.upkeep.unwanted, "delete_now", _nothing)
            await self.upkeep.deleting.delete(file, "deleted")

    async def time_goes_on(self, _: UUID) -> None:
        self.upkeep.clock.turn(LEASE * self.draw.random() * 2)
        await self.upkeep.attend()

    def _taken(self) -> OpenUpload | None:
        self.draw.shuffle(self.open)
        return self.open.pop() if self.open else None

    async def _drawn_file(self) -> KeptFile | None:
        rows = await self.upkeep.files.rows(
            "SELECT key, user_id, upload_id, task_id, output_index,"
            " facts->>'thumbnail_key' AS thumbnail_key FROM storage_read.files ORDER BY key"
        )
        return KeptFile(**self.draw.choice(rows)) if rows else None


async def _nothing(_: object) -> None:
    return


@pytest.mark.parametrize("seed", range(6))
async def test_any_history_ends_whole(upkeep: Upkeep, seed: int) -> None:
    await History(upkeep, seed).go()
    database = upkeep.storage.database

    assert await upkeep.findings() == []
    for user_id in USERS:
        (kept,) = await upkeep.files.rows(
            "SELECT coalesce(sum(size), 0)::bigint AS bytes, count(*) AS files"
            " FROM storage_read.files WHERE user_id = $1",
            user_id,
        )
        assert await room_of(database, user_id) == Room(kept["bytes"], kept["files"], 0)
    assert await upkeep.storage.count("storage.uploads") == 0
    assert await upkeep.storage.count("storage.unwanted_objects") == 0
    assert await verify(database, "storage", AGGREGATES) == []
    await rebuild(database, "storage", READ_MODEL, AGGREGATES)
    assert await upkeep.findings() == []


async def test_any_history_of_who_is_erased_leaves_nothing_of_them(upkeep: Upkeep) -> None:
    history = History(upkeep, 7)
    for _ in range(STEPS // 2):
        await history.begin(USER)
        await history.put_and_die(USER)
        await history.begin(USER)
        await history.put_and_keep(USER)
        await history.store_output(USER)
    await upkeep.erase(USER)
    await upkeep.go_on(timedelta(hours=2), timedelta(minutes=5))
    (found,) = await upkeep.files.rows("SELECT proven_at FROM storage.erasures")
    assert found["proven_at"] is not None
    assert upkeep.storage.there() == set()
    assert await upkeep.findings() == []
