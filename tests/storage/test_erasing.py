"""What becomes of a user's outputs when they are erased, whatever is under way just then."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from contracts.keys import UserErased
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.projections import rebuild, verify
from kernel.testing import envelope_of
from services.storage.adapters import erasing
from services.storage.adapters.deleting import Deleting
from services.storage.adapters.due_list import LEASE
from services.storage.adapters.erasing import LOOK_AGAIN_S, Erasing
from services.storage.adapters.unwanted import Unwanted
from services.storage.domain import OUTPUT
from services.storage.inbox import subscriptions
from services.storage.read_model import READ_MODEL
from tests.storage.test_worker import (
    OUT_OF_ORDER,
    USER,
    Killed,
    Vendor,
    World,
    answer,
    kill,
    picture,
    vendor,
    world,
)

__all__ = ["vendor", "world"]


async def erase(world: World, user_id: UUID = USER) -> None:
    """The message, and the steps that are due then."""
    inbox = Inbox("storage", world.store, subscriptions(), tries_after_s=())
    await inbox.maintain()
    now = world.clock.now()
    message = UserErased(user_id=user_id, account_id=user_id, erased_at=now)
    await inbox.receive(envelope_of(message))
    assert await inbox.parked() == []
    await attend(world)


async def no_upload(*_: object) -> None:
    raise AssertionError("nothing was uploaded")


async def attend(world: World) -> int:
    unwanted = Unwanted(world.store.database, world.objects, world.clock)
    deleting = Deleting(world.store, unwanted)
    steps = Erasing(world.store, world.objects, deleting, no_upload)
    erasures = Leavers(world.store.database, world.clock, "storage.erasures", steps.erase)
    taken = 0
    while now := await erasures.attend():
        taken += now
    return taken


async def is_over(world: World) -> bool:
    return not await world.rows("SELECT 1 FROM storage.erasures WHERE next_step_at IS NOT NULL")


async def nothing_is_left(world: World) -> None:
    assert world.objects_on_disk() == []
    assert await world.rows("SELECT 1 FROM storage_read.files") == []
    assert await world.rows("SELECT 1 FROM storage.output_fetches") == []
    assert await is_over(world)


async def test_objects_thumbnails_and_records_of_an_erased_user_go_and_events_stay(
    world: World, vendor: Vendor
) -> None:
    task = await world.expect(vendor.url)
    await world.expect(vendor.url, task_id=task, index=1)
    vendor.answers = [answer(picture(kind="JPEG"), content_type="image/jpeg"), answer(picture())]
    await world.work()
    assert len(world.objects_on_disk()) == 4
    await erase(world)
    await nothing_is_left(world)
    assert (
        sorted(kind for kind, _ in await world.events())
        == ["OutputErased"] * 2 + ["OutputStored"] * 2
    )


async def test_films_and_sounds_of_an_erased_user_go_too(
    world: World, vendor: Vendor, recordings: Mapping[str, bytes]
) -> None:
    task = await world.expect(vendor.url, task_type="avatar", size=None)
    await world.expect(vendor.url, task_type="audio", size=None, task_id=task, index=1)
    vendor.answers = [answer(recordings["avatar"]), answer(recordings["wav"])]
    await world.work()
    assert len(world.objects_on_disk()) == 4
    await erase(world)
    await nothing_is_left(world)


async def test_what_others_have_stays(world: World, vendor: Vendor) -> None:
    await world.expect(vendor.url)
    await world.work()
    kept = world.objects_on_disk()
    await erase(world, UUID(int=0xC3))
    assert world.objects_on_disk() == kept
    assert len(await world.rows("SELECT 1 FROM storage_read.files")) == 1


async def test_any_number_of_outputs_is_erased_a_few_at_a_time(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "BATCH", 2)
    for _ in range(5):
        await world.expect(vendor.url)
    while await world.work():
        pass
    await erase(world)
    await nothing_is_left(world)


async def test_an_output_that_waits_for_another_attempt_is_not_fetched_any_more(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [OUT_OF_ORDER]
    await world.expect(vendor.url)
    await world.work()
    await erase(world)
    asked = vendor.asked
    assert await world.work() == 1
    assert vendor.asked == asked
    assert (await world.rejected())[0] == "not_wanted"
    world.clock.turn(timedelta(seconds=LOOK_AGAIN_S))
    await attend(world)
    await nothing_is_left(world)


async def test_an_output_that_arrives_after_the_erasure_leaves_nothing(
    world: World, vendor: Vendor
) -> None:
    await erase(world)
    await world.objects.put_bytes("claims/job-1", picture())
    task = await world.expect(vendor.url)
    await world.expect(task_id=task, index=1, object_key="claims/job-1")
    assert await world.work() == 2
    assert vendor.asked == 0
    await nothing_is_left(world)


async def test_an_output_that_is_being_stored_during_the_erasure_is_deleted_after_it(
    world: World, vendor: Vendor
) -> None:
    await world.expect(vendor.url)
    world.objects.after_put = lambda: erase(world)
    await world.work()
    assert not await is_over(world)
    world.clock.turn(timedelta(seconds=LOOK_AGAIN_S))
    await attend(world)
    await nothing_is_left(world)


async def test_what_a_killed_worker_had_put_before_the_erasure_is_deleted(
    world: World, vendor: Vendor
) -> None:
    await world.expect(vendor.url)
    world.objects.after_put = kill
    with pytest.raises(Killed):
        await world.work()
    await erase(world)
    assert len(world.objects_on_disk()) == 1
    world.clock.turn(LEASE + timedelta(seconds=1))
    await world.work()
    await attend(world)
    await nothing_is_left(world)


async def test_the_claim_of_an_output_that_waits_is_deleted(world: World) -> None:
    await world.objects.put_bytes("claims/job-1", picture())
    await world.expect(object_key="claims/job-1")
    await erase(world)
    await world.work()
    world.clock.turn(timedelta(seconds=LOOK_AGAIN_S))
    await attend(world)
    await nothing_is_left(world)


async def test_the_claim_of_an_output_that_is_refused_is_deleted(world: World) -> None:
    await world.objects.put_bytes("claims/job-1", b"no picture")
    await world.expect(object_key="claims/job-1")
    await world.work()
    assert world.objects_on_disk() == []


async def test_a_user_may_be_erased_more_than_once_and_before_anything_is_known(
    world: World, vendor: Vendor
) -> None:
    for _ in range(2):
        await erase(world)
    await world.expect(vendor.url)
    await world.work()
    await erase(world)
    await nothing_is_left(world)


async def test_an_erased_output_that_is_announced_again_is_not_fetched_again(
    world: World, vendor: Vendor
) -> None:
    task = await world.expect(vendor.url)
    await world.work()
    await erase(world)
    await world.expect(vendor.url, task_id=task)
    assert await world.work() == 0
    await nothing_is_left(world)


async def test_a_rebuild_after_an_erasure_gives_the_same_rows(world: World, vendor: Vendor) -> None:
    await world.expect(vendor.url)
    await world.work()
    await erase(world)
    await rebuild(world.store.database, "storage", READ_MODEL, [OUTPUT])
    assert await world.rows("SELECT 1 FROM storage_read.files") == []
    assert await verify(world.store.database, "storage", [OUTPUT]) == []
