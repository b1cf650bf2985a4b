"""Lanes: no key is asked for more than its vendor takes, and nobody waits for another's queue."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from kernel.clock import new_id
from services.generation.adapters import lanes
from services.generation.adapters.breaker import Breakers
from services.generation.adapters.lanes import WINDOW_SLACK, Lanes
from services.generation.adapters.providers import Fault, Refused, Succeeded
from services.generation.adapters.queue import Place, Queue
from services.generation.domain.fairness import LaneLimits
from tests.generation.conftest import Bench

QUEUE = 500
WINDOW_S = 10.0
DONE = Succeeded(("https://cdn.test/a.png",))


async def queue(bench: Bench, jobs: int) -> UUID:
    """A task with more jobs than a model makes: what many tasks of its user would have waiting."""
    task = await bench.task()
    await bench.rows(
        "INSERT INTO generation.provider_jobs (job_id, task_id, output_index, attempt, provider,"
        " model, state, next_look_at, request_id, created_at, user_id)"
        " SELECT gen_random_uuid(), task_id, nth, attempt, provider, model, state, next_look_at,"
        " request_id, created_at, user_id"
        " FROM generation.provider_jobs CROSS JOIN generate_series(1, $2) AS nth"
        " WHERE task_id = $1",
        *(task, jobs - 1),
    )
    return task


async def running_of(bench: Bench, task: UUID) -> int:
    rows = await bench.job_rows(task)
    return sum(row["state"] in {"submitting", "submitted", "unknown"} for row in rows)


async def test_a_users_five_hundred_jobs_do_not_starve_anothers_first(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(at_once=2)
    many = await queue(bench, QUEUE)
    await bench.attend()
    assert await running_of(bench, many) == 2
    one = await replace(bench, user_id=new_id()).task()
    bench.provider.looks.append(DONE)
    await bench.attend(after_s=10)
    await bench.attend()
    assert await running_of(bench, one) == 1
    assert await running_of(bench, many) == 1


async def test_a_users_five_hundred_jobs_do_not_use_up_anothers_window(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(submits=1, window_s=WINDOW_S)
    many = await queue(bench, QUEUE)
    await bench.attend()
    one = await replace(bench, user_id=new_id()).task()
    await bench.attend(after_s=WINDOW_S + 1)
    assert await running_of(bench, one) == 1
    await bench.attend(after_s=WINDOW_S + 1)
    assert await running_of(bench, many) == 2


async def test_no_more_is_submitted_in_a_window_than_the_vendor_takes(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(submits=3, window_s=WINDOW_S)
    await queue(bench, 10)
    await bench.attend()
    await bench.attend(after_s=WINDOW_S)
    assert len(bench.provider.asked) == 3
    await bench.attend(after_s=WINDOW_SLACK.total_seconds())
    assert len(bench.provider.asked) == 6


async def test_a_lane_holds_over_all_replicas(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(at_once=3)
    await queue(bench, 10)
    database, now = bench.platform.database, bench.clock.now()
    claimed = [
        len(await Lanes(database, bench.limits, Breakers("submits")).claim(now, room=2))
        for _ in range(3)
    ]
    assert claimed == [2, 1, 0]


async def test_each_users_own_key_is_a_lane_of_its_own(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(at_once=1)
    owners = [replace(bench, user_id=new_id()) for _ in range(2)]
    tasks = [await owner.task(own_key=True) for owner in owners for _ in range(2)]
    tasks.append(await bench.task())
    database, now = bench.platform.database, bench.clock.now()
    jobs = await Lanes(database, bench.limits, Breakers("submits")).claim(now, room=10)
    assert sorted(job.lane for job in jobs) == sorted(
        ["kie", *(f"kie:{owner.user_id}" for owner in owners)]
    )


async def test_any_number_of_lanes_has_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LANES_MAX", 2)
    bench.limits["kie"] = LaneLimits(at_once=1)
    for _ in range(5):
        await queue(replace(bench, user_id=new_id()), 2)
    await bench.rows("UPDATE generation.provider_jobs SET key_owner_id = user_id")
    tried = Lanes(bench.platform.database, bench.limits, Breakers("submits"))
    now = bench.clock.now()
    claimed = [job.lane for _ in range(3) for job in await tried.claim(now, room=10)]
    assert len(set(claimed)) == len(claimed) == 5


async def test_room_that_a_job_leaves_is_taken_at_once(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(at_once=1)
    await queue(bench, 2)
    await bench.attend()
    await bench.attend()
    bench.provider.looks.append(DONE)
    await bench.attend(after_s=1)
    assert await bench.attend() == 1


async def test_a_lane_rests_as_long_as_its_vendor_says_whatever_ends_meanwhile(
    bench: Bench,
) -> None:
    await bench.task()
    await bench.attend()
    bench.provider.submissions.append(Refused(Fault.RATE_LIMITED, "slowly", 30.0))
    await bench.task()
    bench.provider.looks.append(DONE)
    await bench.attend(after_s=1)
    await bench.task()
    await bench.attend(after_s=25)
    assert len(bench.provider.asked) == 2
    await bench.attend(after_s=15)
    assert len(bench.provider.asked) == 4


async def test_what_the_sandbox_plays_has_no_limits(bench: Bench) -> None:
    await queue(bench, 10)
    limits = {"kie": LaneLimits(at_once=1)}
    unlimited = Lanes(bench.platform.database, limits, Breakers("submits"), frozenset({"kie"}))
    assert len(await unlimited.claim(bench.clock.now(), room=64)) == 10


async def test_a_task_is_told_its_place_and_how_long_that_may_take(bench: Bench) -> None:
    bench.limits["kie"] = LaneLimits(submits=6, window_s=60)
    many = await queue(bench, 20)
    await bench.attend()
    bench.clock.turn(timedelta(seconds=1))
    other = replace(bench, user_id=new_id())
    first = await other.task()
    bench.clock.turn(timedelta(seconds=1))
    second = await other.task()
    places = await Queue(bench.platform.database, bench.clock).places([many, first, second])
    assert places == {many: Place(1, 10), first: Place(2, 20), second: Place(4, 40)}


async def test_a_task_that_has_left_the_queue_has_no_place(bench: Bench) -> None:
    begun = await bench.task()
    await bench.attend()
    waiting = await bench.task()
    bench.clock.turn(timedelta(hours=1))
    found = await Queue(bench.platform.database, bench.clock).places([begun, waiting])
    assert found == {waiting: Place(1, None)}


@pytest.mark.parametrize("looks_per_s", [None, 2.0])
async def test_looks_keep_to_what_a_key_may_ask(bench: Bench, looks_per_s: float | None) -> None:
    bench.limits["kie"] = LaneLimits(looks_per_s=looks_per_s)
    await queue(bench, 40)
    await bench.attend()
    assert await bench.attend(after_s=1) == 40
    assert await bench.attend(after_s=19) == (40 if looks_per_s is None else 0)
