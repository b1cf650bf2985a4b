"""What becomes of the outputs of a task that is removed, whatever is under way just then."""

from datetime import timedelta
from uuid import UUID

import pytest

from contracts.generation import TaskRemoved
from kernel.clock import new_id
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.projections import rebuild, verify
from kernel.testing import envelope_of
from services.storage.adapters.due_list import LEASE, REMOVALS
from services.storage.adapters.removing import LOOK_AGAIN_S, Removing
from services.storage.domain import OUTPUT
from services.storage.inbox import subscriptions
from services.storage.read_model import READ_MODEL
from tests.storage.test_worker import (
    OUT_OF_ORDER,
    USER,
    Killed,
    Vendor,
    World,
    kill,
    vendor,
    world,
)

__all__ = ["vendor", "world"]


async def remove(world: World, task_id: UUID) -> None:
    """The message, and the steps that are due then."""
    inbox = Inbox("storage", world.store, subscriptions(), tries_after_s=())
    await inbox.maintain()
    now = world.clock.now()
    message = TaskRemoved(task_id=task_id, user_id=USER, outputs=2, removed_at=now)
    await inbox.receive(envelope_of(message))
    assert await inbox.parked() == []
    await attend(world)


async def attend(world: World) -> None:
    steps = Removing(world.store, world.objects).remove
    removals = Leavers(world.store.database, world.clock, REMOVALS, steps, key="task_id")
    while await removals.attend():
        pass


async def nothing_is_left(world: World) -> None:
    assert world.objects_on_disk() == []
    assert await world.rows("SELECT 1 FROM storage_read.files") == []
    assert await world.rows("SELECT 1 FROM storage.output_fetches") == []
    assert not await world.rows("SELECT 1 FROM storage.removals WHERE next_step_at IS NOT NULL")


async def test_all_outputs_of_the_task_go_and_those_of_others_stay(
    world: World, vendor: Vendor
) -> None:
    kept = await world.expect(vendor.url)
    await world.work()
    others = world.objects_on_disk()
    task = await world.expect(vendor.url)
    await world.expect(vendor.url, task_id=task, index=1)
    await world.work()
    await remove(world, task)
    assert world.objects_on_disk() == others
    [file] = await world.rows("SELECT task_id FROM storage_read.files")
    assert file["task_id"] == kept


async def test_hearing_of_it_again_is_nothing(world: World, vendor: Vendor) -> None:
    task = await world.expect(vendor.url)
    await world.work()
    for _ in range(2):
        await remove(world, task)
    await nothing_is_left(world)
    assert [kind for kind, _ in await world.events()].count("OutputErased") == 1


async def test_an_output_that_is_announced_after_the_removal_leaves_nothing(
    world: World, vendor: Vendor
) -> None:
    task = new_id()
    await remove(world, task)
    await world.expect(vendor.url, task_id=task)
    assert await world.work() == 1
    assert vendor.asked == 0
    assert (await world.rejected())[0] == "not_wanted"
    await nothing_is_left(world)


async def test_an_output_that_is_being_stored_meanwhile_is_deleted_after_it(
    world: World, vendor: Vendor
) -> None:
    task = await world.expect(vendor.url)
    world.objects.after_put = lambda: remove(world, task)
    await world.work()
    world.clock.turn(timedelta(seconds=LOOK_AGAIN_S))
    await attend(world)
    await nothing_is_left(world)


async def test_an_output_that_waits_for_another_attempt_is_not_fetched_any_more(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [OUT_OF_ORDER]
    task = await world.expect(vendor.url)
    await world.work()
    await remove(world, task)
    asked = vendor.asked
    assert await world.work() == 1
    assert vendor.asked == asked
    world.clock.turn(timedelta(seconds=LOOK_AGAIN_S))
    await attend(world)
    await nothing_is_left(world)


async def test_what_a_killed_worker_had_put_is_deleted(world: World, vendor: Vendor) -> None:
    task = await world.expect(vendor.url)
    world.objects.after_put = kill
    with pytest.raises(Killed):
        await world.work()
    await remove(world, task)
    world.clock.turn(LEASE + timedelta(seconds=1))
    await world.work()
    await attend(world)
    await nothing_is_left(world)


async def test_history_stays_whole(world: World, vendor: Vendor) -> None:
    task = await world.expect(vendor.url)
    await world.work()
    await remove(world, task)
    database = world.store.database
    assert await verify(database, "storage", [OUTPUT]) == []
    await rebuild(database, "storage", READ_MODEL, [OUTPUT])
    await nothing_is_left(world)
