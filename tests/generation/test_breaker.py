"""A provider that does not answer is left alone; its jobs go to the next one that makes them."""

from datetime import timedelta

import pytest

from kernel.testing import FakeClock
from services.generation.adapters.breaker import FAILURES_MAX, OPEN_FIRST_S, OPEN_MAX_S, Breakers
from services.generation.adapters.provider_jobs import UNAVAILABLE_MAX
from services.generation.adapters.providers import Fault, Refused, Succeeded
from tests.generation.conftest import Bench
from tests.kernel.test_telemetry_metrics import Added

DOWN = Refused(Fault.UNAVAILABLE, "down")
LANE = "kie"


def opened(clock: FakeClock) -> Breakers:
    breakers = Breakers("submits")
    for _ in range(FAILURES_MAX):
        breakers.failed(LANE, clock.now())
    return breakers


def test_opens_after_so_many_failures_in_a_row(clock: FakeClock) -> None:
    breakers = Breakers("submits")
    for _ in range(2):
        for _ in range(FAILURES_MAX - 1):
            breakers.failed(LANE, clock.now())
        assert breakers.room(LANE, clock.now()) is None
        breakers.answered(LANE)
    assert opened(clock).room(LANE, clock.now()) == 0
    assert opened(clock).room("google", clock.now()) is None


def test_lets_one_through_to_try_and_closes_when_it_is_answered(clock: FakeClock) -> None:
    breakers = opened(clock)
    clock.turn(timedelta(seconds=OPEN_FIRST_S))
    assert breakers.room(LANE, clock.now()) == 1
    breakers.asked(LANE, clock.now())
    assert breakers.room(LANE, clock.now()) == 0
    breakers.answered(LANE)
    assert breakers.room(LANE, clock.now()) is None


def test_stays_open_for_longer_each_time(clock: FakeClock) -> None:
    breakers = opened(clock)
    stays_s = []
    for _ in range(6):
        opened_at = clock.now()
        until = breakers.open_until(opened_at)[LANE]
        stays_s.append((until - opened_at).total_seconds())
        clock.turn(until - opened_at)
        breakers.asked(LANE, clock.now())
        breakers.failed(LANE, clock.now())
    assert stays_s == [5, 10, 20, 40, OPEN_MAX_S, OPEN_MAX_S]


def test_late_failures_of_what_was_asked_before_do_not_count(clock: FakeClock) -> None:
    breakers = opened(clock)
    until = breakers.open_until(clock.now())
    breakers.failed(LANE, clock.now())
    assert breakers.open_until(clock.now()) == until


async def test_a_provider_that_is_down_is_asked_no_more_and_its_jobs_go_to_the_next(
    bench: Bench,
) -> None:
    bench.providers["google"] = bench.other
    counted = Added(
        "smartspec_provider_breakers_opened_total", provider="kie", key="platform", asked="submits"
    )
    bench.provider.submissions.extend([DOWN] * FAILURES_MAX)
    for _ in range(FAILURES_MAX):
        await bench.task()
    await bench.attend()
    assert counted() == 1
    later = await bench.task()
    await bench.attend()
    await bench.attend()
    assert len(bench.provider.asked) == FAILURES_MAX
    assert bench.other.asked[-1].model == "gemini-3-pro-image"
    told = {one["type"]: one for one in await bench.events(later)}
    failed = told["ProviderAttemptFailed"]
    assert (failed["index"], failed["attempt"], failed["provider"], failed["fault"]) == (
        *(0, 1),
        *("kie", "unavailable"),
    )
    assert told["TaskStarted"]["provider"] == "google"
    (shown,) = await bench.rows(
        "SELECT provider FROM generation_read.generation_tasks WHERE task_id = $1", later
    )
    assert shown["provider"] == "google"


async def test_jobs_wait_for_the_only_provider_that_makes_them(bench: Bench) -> None:
    bench.provider.submissions.extend([DOWN] * FAILURES_MAX)
    for _ in range(FAILURES_MAX):
        await bench.task()
    await bench.attend()
    later = await bench.task()
    await bench.attend()
    assert [row["state"] for row in await bench.job_rows(later)] == ["waiting"]
    await bench.attend(after_s=OPEN_FIRST_S + 1)
    assert len(bench.provider.asked) == FAILURES_MAX + 1, "one tries"
    await bench.attend()
    assert len(bench.provider.asked) == 2 * FAILURES_MAX + 1


@pytest.mark.parametrize("fault", [Fault.AUTH, Fault.CREDITS])
async def test_another_provider_is_asked_when_the_platforms_key_is_refused(
    bench: Bench, fault: Fault
) -> None:
    bench.providers["google"] = bench.other
    task = await bench.task()
    bench.provider.submissions.append(Refused(fault, "no"))
    await bench.attend()
    await bench.attend()
    assert len(bench.other.asked) == 1
    assert [(row["provider"], row["state"]) for row in await bench.job_rows(task)] == [
        *(("kie", "failed"), ("google", "submitted")),
    ]


async def test_another_provider_is_asked_when_one_is_unavailable_again_and_again(
    bench: Bench,
) -> None:
    bench.providers["google"] = bench.other
    await bench.task()
    bench.provider.submissions.extend([DOWN] * UNAVAILABLE_MAX)
    for _ in range(UNAVAILABLE_MAX + 1):
        await bench.attend(after_s=5)
    assert len(bench.provider.asked) == UNAVAILABLE_MAX
    assert len(bench.other.asked) == 1


@pytest.mark.parametrize(
    "fault", [Fault.INVALID, Fault.MODERATED, Fault.UNKNOWN, Fault.FAILED, Fault.RATE_LIMITED]
)
async def test_no_other_provider_is_asked_after(bench: Bench, fault: Fault) -> None:
    bench.providers["google"] = bench.other
    await bench.task()
    bench.provider.submissions.extend([Refused(fault, "no", 1.0)] * (UNAVAILABLE_MAX + 1))
    for _ in range(UNAVAILABLE_MAX + 1):
        await bench.attend(after_s=30)
    assert bench.other.asked == []


async def test_a_task_under_an_own_key_stays_with_its_provider(bench: Bench) -> None:
    bench.providers["google"] = bench.other
    bench.keys.known[bench.user_id, "kie"] = "a key of my own"
    await bench.task(own_key=True)
    bench.provider.submissions.extend([DOWN] * (FAILURES_MAX + 1))
    for _ in range(FAILURES_MAX + 1):
        await bench.attend(after_s=60)
    assert bench.other.asked == []


async def test_looks_at_a_provider_that_is_down_cost_it_nothing(bench: Bench) -> None:
    await bench.task(outputs=4)
    await bench.task(outputs=4)
    await bench.attend()
    bench.provider.looks.extend([DOWN] * 8)
    await bench.attend(after_s=1)
    asked = len(bench.provider.looked_at)
    await bench.attend(after_s=2)
    assert len(bench.provider.looked_at) == asked
    bench.provider.looks.clear()
    bench.provider.looks.extend([Succeeded(("https://cdn.test/a.png",))] * 8)
    for _ in range(3):
        await bench.attend(after_s=10)
    assert {row["state"] for row in await bench.rows("TABLE generation.provider_jobs")} == {"done"}
