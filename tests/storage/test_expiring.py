"""What was begun and left ends by itself: its room is given back, and what lies there goes."""

import asyncio
from datetime import timedelta

import pytest

from kernel.objects import LocalObjectStore, StoredObject
from services.storage.adapters.expiring import CLAIMS_MAX
from services.storage.adapters.quotas import Room
from services.storage.adapters.uploads import LEASE, LINK_GRACE
from services.storage.domain import upload_thumbnail_key
from tests.storage.upkeep import Upkeep, upkeep
from tests.storage.uploading import QUOTA, TEXT, Storage

__all__ = ["upkeep"]

LINK = timedelta(seconds=600)
LINK_OVER = LINK + LINK_GRACE + timedelta(seconds=1)


async def reasons(upkeep: Upkeep) -> list[str]:
    rows = await upkeep.files.rows("SELECT data FROM storage.events WHERE type = 'UploadEnded'")
    return [row["data"]["reason"] for row in rows]


async def test_an_upload_of_a_process_that_died_ends_and_gives_its_room_back(
    upkeep: Upkeep,
) -> None:
    upload = await upkeep.files.begin(upkeep.storage.user_id, 100)
    await upkeep.storage.objects.put_bytes(upload.key, bytes(100))
    await upkeep.storage.objects.put_bytes(upload_thumbnail_key(upload.upload_id), b"small")
    upkeep.clock.turn(LEASE)
    await upkeep.attend()
    assert await upkeep.storage.room() == Room(0, 0, 100)
    upkeep.clock.turn(timedelta(seconds=1))
    await upkeep.attend()
    assert await upkeep.storage.is_as_if_nothing_was()
    assert await reasons(upkeep) == ["abandoned"]
    assert await upkeep.findings() == []


async def test_what_an_overtaken_process_puts_late_is_deleted_too(upkeep: Upkeep) -> None:
    upload = await upkeep.files.begin(upkeep.storage.user_id, 100)
    upkeep.clock.turn(LEASE + timedelta(seconds=1))
    await upkeep.attend()
    await upkeep.storage.objects.put_bytes(upload.key, bytes(100))
    assert await upkeep.storage.count("storage.unwanted_objects") == 2
    upkeep.clock.turn(2 * LEASE + timedelta(seconds=1))
    await upkeep.attend()
    assert await upkeep.storage.is_as_if_nothing_was()
    assert await upkeep.storage.count("storage.unwanted_objects") == 0


async def test_at_the_start_of_the_only_process_no_lease_is_waited_for(upkeep: Upkeep) -> None:
    await upkeep.files.begin(upkeep.storage.user_id, 100)
    link = await upkeep.storage.put_link()
    await upkeep.expiring.void_leases()
    await upkeep.attend()
    assert await upkeep.storage.room() == Room(0, 0, len(TEXT))
    assert (await upkeep.storage.put(link["url"])).status_code == 200


async def test_a_link_that_nobody_used_gives_its_room_back_after_its_end(upkeep: Upkeep) -> None:
    await upkeep.storage.put_link(expires_in=600)
    upkeep.clock.turn(LINK + LINK_GRACE)
    await upkeep.attend()
    assert await upkeep.storage.room() == Room(0, 0, len(TEXT))
    upkeep.clock.turn(timedelta(seconds=1))
    await upkeep.attend()
    assert await upkeep.storage.is_as_if_nothing_was()
    assert await reasons(upkeep) == ["expired"]


async def test_what_was_put_and_never_confirmed_is_looked_at_and_kept(upkeep: Upkeep) -> None:
    link = await upkeep.storage.put_link(expires_in=600)
    await upkeep.storage.put(link["url"])
    upkeep.clock.turn(LINK_OVER)
    await upkeep.attend()
    assert await upkeep.storage.room() == Room(len(TEXT), 1, 0)
    assert (await upkeep.storage.get(f"files/{link['key']}")).content == TEXT
    await upkeep.go_on(2 * LINK_GRACE)
    assert upkeep.storage.there() == {link["key"]}
    assert await upkeep.findings() == []


async def test_what_was_put_and_may_not_be_kept_goes(upkeep: Upkeep) -> None:
    link = await upkeep.storage.put_link(content=bytes(20), expires_in=600)
    await upkeep.storage.put(link["url"], bytes(20))
    upkeep.clock.turn(LINK_OVER)
    await upkeep.attend()
    await upkeep.go_on(2 * LINK_GRACE)
    assert await upkeep.storage.is_as_if_nothing_was()
    assert await upkeep.findings() == []


async def test_an_object_store_that_is_away_is_waited_for(
    upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await upkeep.storage.put_link(expires_in=600)
    await upkeep.storage.put(link["url"])
    upkeep.clock.turn(LINK_OVER)
    with monkeypatch.context() as away:

        async def fetch(*_: object) -> StoredObject:
            raise OSError("away")

        away.setattr(LocalObjectStore, "fetch", fetch)
        await upkeep.attend()
    assert await upkeep.storage.room() == Room(0, 0, len(TEXT))
    upkeep.clock.turn(LEASE + timedelta(seconds=1))
    await upkeep.attend()
    assert await upkeep.storage.room() == Room(len(TEXT), 1, 0)


async def test_what_ends_its_process_each_time_is_given_up(upkeep: Upkeep) -> None:
    link = await upkeep.storage.put_link(expires_in=600)
    await upkeep.storage.put(link["url"])
    for _ in range(CLAIMS_MAX):
        upkeep.clock.turn(LINK_OVER)
        assert len(await upkeep.intake.open.claim_expired(upkeep.clock.now(), 1)) == 1
    upkeep.clock.turn(LINK_OVER)
    await upkeep.attend()
    assert await reasons(upkeep) == ["failed"]
    assert await upkeep.storage.is_as_if_nothing_was()


async def test_any_number_of_them_ends(upkeep: Upkeep, storage: Storage) -> None:
    for _ in range(20):
        await upkeep.files.begin(storage.user_id, QUOTA // 20)
    upkeep.clock.turn(LEASE + timedelta(seconds=1))
    await upkeep.attend()
    assert await storage.is_as_if_nothing_was()


async def test_two_processes_end_each_upload_once(upkeep: Upkeep, storage: Storage) -> None:
    for _ in range(20):
        await upkeep.files.begin(storage.user_id, QUOTA // 20)
    upkeep.clock.turn(LEASE + timedelta(seconds=1))
    while sum(await asyncio.gather(*(upkeep.expiring.end_expired() for _ in range(4)))):
        pass
    assert len(await reasons(upkeep)) == 20
    assert await storage.is_as_if_nothing_was()
