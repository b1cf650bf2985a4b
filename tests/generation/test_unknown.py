"""Answers that were lost, and workers that die: nothing is asked for twice, nothing is charged that
was not delivered, and what nobody can know is counted and listed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from kernel.errors import NotFound
from kernel.http.identity import HEADER, ITSELF
from services.generation.adapters.due_list import LEASE, record_cancel
from services.generation.adapters.provider_jobs import FIND_MAX_S
from services.generation.adapters.providers import (
    Accepted,
    Fault,
    Made,
    Refused,
    Submission,
    Succeeded,
)
from services.generation.domain.messages import CancelTask
from services.generation.domain.task import SAGA, TASK, Stage
from tests.generation.conftest import UNKNOWN_FOR_S, Bench, Generation, person
from tests.kernel.test_telemetry_metrics import Added

DONE = Succeeded(("https://cdn.test/a.png",))
LOST_ANSWER = Refused(Fault.UNKNOWN, "lost")
LOST = Refused(Fault.LOST, "no such job")


def counted(outcome: str) -> Added:
    return Added("smartspec_provider_unknown_outcomes_total", provider="kie", outcome=outcome)


async def state_of(bench: Bench, task: UUID) -> str:
    return str((await bench.job_rows(task))[-1]["state"])


async def test_a_job_whose_answer_was_lost_is_found_by_its_key_and_goes_on(bench: Bench) -> None:
    lost, found = counted("lost"), counted("found")
    task = await bench.task()
    bench.provider.submissions.append(LOST_ANSWER)
    bench.provider.finds.extend([None, Refused(Fault.UNAVAILABLE, "down"), Accepted("job-x")])
    bench.provider.looks.append(DONE)
    for _ in range(5):
        await bench.attend(after_s=5)
    assert len(bench.provider.asked) == 1
    assert {job.key for job in bench.provider.sought} == {bench.provider.asked[0].key}
    assert bench.provider.looked_at == ["job-x"]
    assert (await bench.state(task)).stage == Stage.STORING
    assert (lost(), found()) == (1, 1)
    assert await bench.due.unknown_jobs() == []


async def test_is_looked_for_at_growing_intervals_until_its_date(bench: Bench) -> None:
    given_up = counted("given_up")
    task = await bench.task()
    bench.provider.submissions.append(LOST_ANSWER)
    await bench.attend()
    [listed] = await bench.due.unknown_jobs()
    assert (listed["task_id"], listed["state"]) == (task, "unknown")
    for _ in range(int(UNKNOWN_FOR_S)):
        await bench.attend(after_s=1)
    assert UNKNOWN_FOR_S / FIND_MAX_S <= len(bench.provider.sought) <= 9
    last = (await bench.events(task))[-1]
    assert (last["type"], last["outcome"], last["charged_units"]) == (
        *("TaskFailed", "provider_unknown"),
        0,
    )
    assert given_up() == 1
    [listed] = await bench.due.unknown_jobs()
    assert listed["state"] == "failed"


async def test_a_job_that_is_found_after_its_tasks_end_is_followed_and_not_charged(
    bench: Bench,
) -> None:
    task = await bench.task(deadline_s=10)
    bench.provider.submissions.append(LOST_ANSWER)
    await bench.attend()
    await bench.attend(after_s=10)
    bench.provider.finds.append(Accepted("job-x"))
    bench.provider.looks.append(DONE)
    for _ in range(3):
        await bench.attend(after_s=15)
    assert [one["type"] for one in await bench.events(task)][-1] == "OutputCameLate"
    assert (await bench.state(task)).stage == Stage.FAILED


async def test_services_alone_are_told_what_is_unknown(generation: Generation) -> None:
    tokens = generation.platform.internal_tokens
    path = "http://generation/internal/tasks/unknown"
    for who, status in ((person(), 403), (ITSELF, 200)):
        answer = await generation.client.post(path, headers={HEADER: tokens.mint(who)})
        assert answer.status_code == status


async def cancel(bench: Bench, task: UUID) -> None:
    """As the API does it."""
    store = bench.service.store
    assert store is not None

    async def work(unit: Any) -> None:
        await unit.decide(SAGA, TASK.stream_id(task), CancelTask(unit.now))
        record_cancel(unit, task)

    await store.transact(work)


async def test_a_cancelled_task_asks_its_vendor_to_stop_once(bench: Bench) -> None:
    task = await bench.task()
    await bench.attend()
    await cancel(bench, task)
    assert await bench.attend() == 1, "not only when it was to be looked at"
    await bench.attend(after_s=10)
    assert bench.provider.cancelled == ["job-1"]
    assert await state_of(bench, task) == "submitted", "how it ends is seen by looking"
    bench.provider.looks.append(LOST)
    await bench.attend(after_s=10)
    assert len(await bench.job_rows(task)) == 1, "what has ended is not asked for again"


async def test_a_task_that_is_cancelled_while_it_is_submitted_is_stopped_later(
    bench: Bench,
) -> None:
    task = await bench.task()
    bench.provider.on_submit = lambda: cancel(bench, task)
    await bench.attend()
    await bench.attend(after_s=1)
    assert bench.provider.cancelled == ["job-1"]


async def test_a_cancelled_task_leaves_its_lane_at_once(bench: Bench) -> None:
    task = await bench.task(outputs=2)
    await cancel(bench, task)
    assert {row["state"] for row in await bench.job_rows(task)} == {"ended"}
    assert await bench.attend() == 0


def before_the_question(bench: Bench) -> None:
    store = bench.service.store
    assert store is not None
    read = store.read

    async def die(*_: Any) -> Any:
        store.read = read  # type: ignore[method-assign]  # once
        raise asyncio.CancelledError

    store.read = die  # type: ignore[assignment,method-assign]


def before_the_record(bench: Bench) -> None:
    bench.provider.submissions.append(asyncio.CancelledError())


def after_the_record(bench: Bench) -> None:
    store = bench.service.store
    assert store is not None
    transact = store.transact

    async def die(*arguments: Any, **options: Any) -> Any:
        store.transact = transact  # type: ignore[method-assign]  # once
        await transact(*arguments, **options)
        raise asyncio.CancelledError

    store.transact = die  # type: ignore[method-assign]


def while_the_output_is_kept(bench: Bench) -> None:
    bench.provider.submissions.append(Made(b"a picture"))
    _die_keeping(bench, lambda *_: asyncio.sleep(0))


def after_the_output_is_kept(bench: Bench) -> None:
    bench.provider.submissions.append(Made(b"a picture"))
    _die_keeping(bench, bench.objects.put_bytes)


def _die_keeping(bench: Bench, put: Callable[..., Awaitable[object]]) -> None:
    keep = bench.objects.put_bytes

    async def die(*arguments: Any) -> Any:
        bench.objects.put_bytes = keep  # type: ignore[method-assign]  # once
        await put(*arguments)
        raise asyncio.CancelledError

    bench.objects.put_bytes = die  # type: ignore[assignment,method-assign]


GOES_ON, GIVEN_UP = Stage.STORING, Stage.FAILED


@pytest.mark.parametrize(
    ("crash", "finds", "questions", "stage"),
    [
        (before_the_question, None, 0, GIVEN_UP),
        (before_the_question, LOST, 1, GOES_ON),
        (before_the_record, None, 1, GIVEN_UP),
        (before_the_record, Accepted("job-1"), 1, GOES_ON),
        (after_the_record, None, 1, GOES_ON),
        (while_the_output_is_kept, None, 1, GIVEN_UP),
        (while_the_output_is_kept, Made(b"a picture"), 1, GOES_ON),
        (after_the_output_is_kept, None, 1, GIVEN_UP),
        (after_the_output_is_kept, Made(b"a picture"), 1, GOES_ON),
    ],
)
async def test_a_worker_that_dies_asks_for_nothing_twice(
    bench: Bench,
    crash: Callable[[Bench], None],
    finds: Submission | None,
    questions: int,
    stage: Stage,
) -> None:
    given_up = counted("given_up")
    task = await bench.task()
    crash(bench)
    await bench.attend()
    bench.provider.looks.append(DONE)
    if finds is not None:
        bench.provider.finds.append(finds)
    await bench.attend(after_s=LEASE.total_seconds() + 1)
    for _ in range(3):
        await bench.attend(after_s=UNKNOWN_FOR_S / 2 + 1)
    assert len(bench.provider.asked) == questions
    assert (await bench.state(task)).stage == stage
    assert given_up() == (stage == GIVEN_UP)
    if stage == GIVEN_UP:
        [row] = await bench.due.unknown_jobs()
        assert (await bench.events(task))[-1]["charged_units"] == 0
        with pytest.raises(NotFound):
            await bench.objects.stat(f"claims/{row['job_id']}")
