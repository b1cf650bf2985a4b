"""Provider jobs: asked once per recorded attempt, whatever is lost, late or lying."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from contracts.credits import CreditsReserved
from contracts.storage import OutputRejected
from kernel.clock import new_id
from kernel.errors import NotFound, Unavailable
from kernel.testing import envelope_of
from services.generation.adapters.due_list import LEASE
from services.generation.adapters.provider_jobs import (
    ATTEMPTS_MAX,
    LOOKS_MAX,
    SUBMITTING_MAX,
)
from services.generation.adapters.providers import (
    OUTCOME_BY_FAULT,
    TRANSIENT,
    Fault,
    Made,
    Refused,
    Running,
    Succeeded,
)
from services.generation.domain.messages import CancelTask
from services.generation.domain.outcomes import OUTCOMES
from services.generation.domain.task import SAGA, TASK, Stage
from tests.generation.conftest import PROMPT, UNKNOWN_FOR_S, Bench

URL = "https://cdn.test/a.png"
LOST = Refused(Fault.LOST, "no such task")


async def ending(bench: Bench, task_id: Any) -> tuple[str, str]:
    """The type and outcome of the task's last event."""
    last = (await bench.events(task_id))[-1]
    return last["type"], last.get("outcome", "")


async def state_of(bench: Bench, task_id: Any) -> str:
    return str((await bench.job_rows(task_id))[-1]["state"])


async def test_asks_for_what_the_user_asked_once(bench: Bench) -> None:
    task = await bench.task(seed=7)
    assert [await bench.attend(), await bench.attend()] == [1, 0]
    [job] = bench.provider.asked
    assert (job.model, job.prompt, job.width, job.height) == (
        *("nano-banana-pro", PROMPT),
        *(1_024, 576),
    )
    assert job.options["seed"] == 7
    assert (await bench.state(task)).stage == Stage.PROCESSING


async def test_asks_for_each_output_with_a_seed_of_its_own(bench: Bench) -> None:
    await bench.task(outputs=3, seed=7)
    await bench.attend()
    assert sorted(job.options["seed"] for job in bench.provider.asked) == [7, 8, 9]


async def test_two_workers_ask_once(bench: Bench) -> None:
    await bench.task(outputs=4)
    await asyncio.gather(*(bench.jobs.attend_due() for _ in range(4)))
    await bench.jobs.finish(30)
    assert len(bench.provider.asked) == 4


async def test_looks_later_and_later_until_there_is_a_result(bench: Bench) -> None:
    task = await bench.task()
    bench.provider.looks.extend([Running(10), Running(40), Succeeded((URL,))])
    await bench.attend()
    assert await bench.attend(after_s=0.4) == 0
    assert await bench.attend(after_s=0.2) == 1
    assert await bench.attend(after_s=0.5) == 0
    assert await bench.attend(after_s=1) == 1
    assert (await bench.due.progress_of([task])) == {task: 40}
    await bench.attend(after_s=3)
    assert (await bench.state(task)).stage == Stage.STORING
    assert await state_of(bench, task) == "done"
    assert (await bench.events(task))[-1]["url"] == URL
    assert await bench.attend(after_s=60) == 0


async def test_a_crash_between_question_and_record_is_never_asked_again(bench: Bench) -> None:
    task = await bench.task()
    asked = asyncio.Event()

    async def never_answer() -> None:
        asked.set()
        await asyncio.Event().wait()

    bench.provider.on_submit = never_answer
    await bench.jobs.attend_due()
    await asyncio.wait_for(asked.wait(), 30)
    await bench.jobs.finish(0)  # the process ends before the answer comes
    assert await state_of(bench, task) == "submitting"
    await bench.attend(after_s=LEASE.total_seconds() - 1)
    assert await state_of(bench, task) == "submitting"
    await bench.attend(after_s=2)
    assert await state_of(bench, task) == "unknown"
    await bench.attend(after_s=UNKNOWN_FOR_S + 1)
    assert await ending(bench, task) == ("TaskFailed", "provider_unknown")
    assert len(bench.provider.asked) == 1


async def test_a_sole_owner_doubts_lost_submits_at_once(bench: Bench) -> None:
    task = await bench.task()
    await bench.rows("UPDATE generation.provider_jobs SET state = 'submitting'")
    await bench.due.doubt_lost_submits(bench.clock.now(), all_leases_void=True)
    assert await state_of(bench, task) == "unknown"


async def test_a_lost_answer_is_kept_on_hold_and_never_repeated(bench: Bench) -> None:
    task = await bench.task()
    bench.provider.submissions.append(Refused(Fault.UNKNOWN, "lost"))
    await bench.attend()
    assert await state_of(bench, task) == "unknown"
    await bench.attend(after_s=UNKNOWN_FOR_S - 1)
    assert await state_of(bench, task) == "unknown"
    await bench.attend(after_s=1)
    assert await ending(bench, task) == ("TaskFailed", "provider_unknown")
    assert len(bench.provider.asked) == 1


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.UNAVAILABLE])
async def test_asks_the_same_attempt_later_when_the_provider_surely_took_nothing(
    bench: Bench, fault: Fault
) -> None:
    task = await bench.task()
    bench.provider.submissions.append(Refused(fault, "later", 10.0))
    await bench.attend()
    assert await bench.attend(after_s=9) == 0
    await bench.attend(after_s=5)
    assert len(bench.provider.asked) == 2
    assert [row["attempt"] for row in await bench.job_rows(task)] == [1]
    assert (await bench.state(task)).stage == Stage.PROCESSING


async def test_backs_off_from_a_provider_that_is_down_until_the_deadline(bench: Bench) -> None:
    task = await bench.task(deadline_s=100)
    bench.provider.submissions.extend([Refused(Fault.UNAVAILABLE, "down")] * 50)
    for _ in range(99):
        await bench.attend(after_s=1)
    assert 5 <= len(bench.provider.asked) <= 10
    await bench.attend(after_s=1)
    assert await ending(bench, task) == ("TaskFailed", "deadline_missed")
    await bench.attend(after_s=60)
    assert await state_of(bench, task) == "ended"


async def test_asks_again_for_a_job_that_the_provider_has_lost_at_most_three_times(
    bench: Bench,
) -> None:
    task = await bench.task()
    bench.provider.looks.extend([LOST] * ATTEMPTS_MAX)
    for _ in range(ATTEMPTS_MAX):
        await bench.attend()
        await bench.attend(after_s=1)
    assert await bench.attend(after_s=60) == 0
    assert len(bench.provider.asked) == ATTEMPTS_MAX
    rows = await bench.job_rows(task)
    assert [(row["attempt"], row["state"]) for row in rows] == [
        (attempt, "failed") for attempt in range(1, ATTEMPTS_MAX + 1)
    ]
    assert await ending(bench, task) == ("TaskFailed", "provider_failed")


async def test_a_second_attempt_can_succeed(bench: Bench) -> None:
    task = await bench.task()
    bench.provider.looks.extend([LOST, Succeeded((URL,))])
    for _ in range(4):
        await bench.attend(after_s=1)
    assert (await bench.state(task)).stage == Stage.STORING
    assert bench.provider.looked_at == ["job-1", "job-2"]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.INVALID, "input_refused"),
        (Fault.MODERATED, "output_moderated"),
        (Fault.FAILED, "provider_failed"),
    ],
)
async def test_a_refusal_ends_the_task_by_its_row_of_the_policy(
    bench: Bench, fault: Fault, outcome: str
) -> None:
    at_submit, at_look = await bench.task(), await bench.task()
    bench.provider.submissions.append(Refused(fault, "no"))
    bench.provider.looks.append(Refused(fault, "no"))
    await bench.attend()
    await bench.attend(after_s=1)
    for task in (at_submit, at_look):
        assert await ending(bench, task) == ("TaskFailed", outcome)
        assert await state_of(bench, task) == "failed"


async def test_a_success_without_a_result_is_a_failure(bench: Bench) -> None:
    task = await bench.task()
    bench.provider.looks.append(Succeeded(()))
    await bench.attend()
    await bench.attend(after_s=1)
    assert await ending(bench, task) == ("TaskFailed", "provider_failed")


@pytest.mark.parametrize("fault", [Fault.AUTH, Fault.CREDITS])
async def test_a_key_that_is_refused_ends_the_task_when_nobody_else_makes_it(
    bench: Bench, fault: Fault
) -> None:
    task = await bench.task()
    bench.provider.submissions.append(Refused(fault, "no"))
    await bench.attend()
    assert await ending(bench, task) == ("TaskFailed", "provider_failed")


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.AUTH, Fault.CREDITS])
async def test_a_look_that_fails_is_a_reason_to_look_again(bench: Bench, fault: Fault) -> None:
    task = await bench.task()
    bench.provider.looks.extend([Refused(fault, "cut"), Succeeded((URL,))])
    await bench.attend()
    await bench.attend(after_s=1)
    await bench.attend(after_s=5)
    assert (await bench.state(task)).stage == Stage.STORING
    assert len(bench.provider.asked) == 1


async def test_the_deadline_fails_a_task_that_takes_too_long(bench: Bench) -> None:
    task = await bench.task(deadline_s=30)
    await bench.attend()
    await bench.attend(after_s=29)
    assert (await bench.state(task)).stage == Stage.PROCESSING
    await bench.attend(after_s=1)
    assert await ending(bench, task) == ("TaskFailed", "deadline_missed")
    assert await bench.rows("SELECT * FROM generation.task_deadlines") == []


async def test_a_success_after_the_end_is_recorded_and_not_delivered(bench: Bench) -> None:
    task = await bench.task(deadline_s=10)
    await bench.attend()
    await bench.attend(after_s=10)
    assert await ending(bench, task) == ("TaskFailed", "deadline_missed")
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend(after_s=10)
    assert (await bench.state(task)).stage == Stage.FAILED
    assert await state_of(bench, task) == "done"
    late = (await bench.events(task))[-1]
    assert late["type"] == "OutputCameLate"
    assert (late["index"], late["provider"], late["price_units"]) == (0, "kie", 15_000)
    (said,) = await bench.rows(
        "SELECT envelope FROM generation.outbox WHERE envelope->>'type' = 'LateOutputProduced'"
    )
    assert said["envelope"]["data"]["price_units"] == 15_000


async def test_an_output_that_comes_with_the_answer_after_the_end_is_late_and_not_kept(
    bench: Bench,
) -> None:
    task = await bench.task()
    store = bench.service.store
    assert store is not None

    async def cancel() -> None:
        await store.handle(SAGA, TASK.stream_id(task), CancelTask(bench.clock.now()))

    bench.provider.on_submit = cancel
    bench.provider.submissions.append(Made(b"a picture"))
    await bench.attend()
    assert (await bench.events(task))[-1]["type"] == "OutputCameLate"
    (job,) = await bench.job_rows(task)
    assert job["state"] == "done"
    with pytest.raises(NotFound):
        await bench.objects.stat(f"claims/{job['job_id']}")


async def test_a_task_that_ended_before_its_submit_is_not_submitted(bench: Bench) -> None:
    task = await bench.task()
    assert bench.service.store is not None
    stream_id = TASK.stream_id(task)
    await bench.service.store.handle(SAGA, stream_id, CancelTask(bench.clock.now()))
    await bench.attend()
    assert bench.provider.asked == []
    assert await state_of(bench, task) == "ended"


async def test_a_task_that_is_cancelled_while_it_is_submitted_is_followed_to_its_end(
    bench: Bench,
) -> None:
    """The vendor may still bill it: how it ends is recorded."""
    task = await bench.task()
    store = bench.service.store
    assert store is not None

    async def cancel() -> None:
        await store.handle(SAGA, TASK.stream_id(task), CancelTask(bench.clock.now()))

    bench.provider.on_submit = cancel
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend()
    assert await state_of(bench, task) == "submitted"
    await bench.attend(after_s=1)
    assert await state_of(bench, task) == "done"
    assert (await bench.state(task)).stage == Stage.CANCELLED
    assert (await bench.state(task)).late == (0,)


async def test_a_job_that_never_ends_is_left_alone_at_last(bench: Bench) -> None:
    task = await bench.task()
    await bench.attend()
    await bench.rows("UPDATE generation.provider_jobs SET looks = $1", LOOKS_MAX)
    await bench.attend(after_s=1)
    assert await state_of(bench, task) == "failed"
    assert await bench.attend(after_s=100) == 0


async def test_does_not_ask_for_a_request_that_was_erased(bench: Bench) -> None:
    task = await bench.task()
    await bench.rows("DELETE FROM generation.personal")
    await bench.attend()
    assert bench.provider.asked == []
    assert (await bench.state(task)).stage == Stage.FAILED


async def test_a_provider_that_breaks_its_promise_never_to_raise_stops_no_other_job(
    bench: Bench,
) -> None:
    tasks = [await bench.task() for _ in range(2)]
    bench.provider.submissions.append(RuntimeError("a fault of ours"))
    await bench.attend()
    states = {await state_of(bench, task): task for task in tasks}
    assert set(states) == {"submitted", "submitting"}, "one of them, whichever was asked first"
    broken = states["submitting"]
    await bench.attend(after_s=LEASE.total_seconds() + 1)
    await bench.attend(after_s=UNKNOWN_FOR_S + 1)
    assert await ending(bench, broken) == ("TaskFailed", "provider_unknown")


async def test_slow_answers_hold_up_neither_the_worker_nor_the_deadlines(bench: Bench) -> None:
    late = await bench.task(deadline_s=5)
    for _ in range((SUBMITTING_MAX + 2) // 4 + 1):
        await bench.task(outputs=4)
    answer = asyncio.Event()
    bench.provider.on_submit = answer.wait
    assert await bench.jobs.attend_due() == SUBMITTING_MAX
    bench.clock.turn(timedelta(seconds=5))
    assert await asyncio.wait_for(bench.jobs.attend_due(), 30) == 0
    assert await asyncio.wait_for(bench.jobs.miss_deadlines(), 30) == 1
    assert await ending(bench, late) == ("TaskFailed", "deadline_missed")
    answer.set()
    await bench.jobs.finish(30)
    assert await bench.jobs.attend_due() > 0
    await bench.jobs.finish(30)


async def test_the_loop_outlives_a_deadline_that_can_not_be_recorded_now(
    bench: Bench,
) -> None:
    task = await bench.task(deadline_s=1)
    bench.clock.turn(timedelta(seconds=1))
    store = bench.service.store
    assert store is not None
    met, tries = asyncio.Event(), 0
    transact = store.transact

    async def busy_once(*arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("busy", "Too many changes at once; try again.")
        result = await transact(*arguments, **options)
        met.set()
        return result

    store.transact = busy_once  # type: ignore[method-assign]  # a store that is busy once
    worker = asyncio.create_task(bench.jobs.run())
    await asyncio.wait_for(met.wait(), 30)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    assert await ending(bench, task) == ("TaskFailed", "deadline_missed")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("unreachable", "delivery_failed"), ("unsafe_output", "output_moderated")],
)
async def test_an_output_that_storage_rejects_fails_the_task_and_costs_nothing(
    code: str, outcome: str, bench: Bench
) -> None:
    task = await bench.task()
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend()
    await bench.attend(after_s=1)
    rejected = OutputRejected(
        task_id=task, user_id=new_id(), index=0, code=code, message="Not there."
    )
    assert bench.service.inbox is not None
    await bench.service.inbox.receive(envelope_of(rejected))
    last = (await bench.events(task))[-1]
    assert (last["code"], last["outcome"], last["charged_units"]) == (
        *(code, outcome),
        0,
    )


async def test_a_repeated_reservation_makes_no_second_job(bench: Bench) -> None:
    task = await bench.task()
    again = CreditsReserved(task_id=task, account_id=bench.user_id, amount_units=15_000)
    assert bench.service.inbox is not None
    await bench.service.inbox.receive(envelope_of(again))
    assert len(await bench.job_rows(task)) == 1


def test_every_fault_is_transient_or_has_a_row_of_the_policy() -> None:
    assert set(Fault) == TRANSIENT | OUTCOME_BY_FAULT.keys()
    assert {outcome for outcome, _, _ in OUTCOME_BY_FAULT.values()} <= OUTCOMES.keys()


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


async def traces_in(bench: Bench) -> list[str]:
    rows = await bench.rows("SELECT metadata FROM generation.events ORDER BY position")
    return [row["metadata"]["traceparent"] for row in rows]


async def test_what_comes_of_a_job_belongs_to_the_trace_of_its_request(bench: Bench) -> None:
    await bench.task(traceparent=TRACEPARENT)
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend()
    await bench.attend(after_s=1)
    assert await traces_in(bench) == [TRACEPARENT] * 5


async def test_a_missed_deadline_belongs_to_the_trace_of_its_request(bench: Bench) -> None:
    task = await bench.task(deadline_s=10, traceparent=TRACEPARENT)
    await bench.attend(after_s=11)
    assert (await ending(bench, task))[0] == "TaskFailed"
    assert set(await traces_in(bench)) == {TRACEPARENT}


async def test_a_job_asked_for_again_stays_in_its_trace(bench: Bench) -> None:
    task = await bench.task(traceparent=TRACEPARENT)
    bench.provider.looks.append(LOST)
    await bench.attend()
    await bench.attend(after_s=1)
    rows = await bench.job_rows(task)
    assert [row["traceparent"] for row in rows] == [TRACEPARENT] * 2


async def test_a_row_from_before_traces_were_kept_is_attended_to(bench: Bench) -> None:
    task = await bench.task()
    await bench.rows("UPDATE generation.provider_jobs SET traceparent = NULL")
    assert await bench.attend() == 1
    assert (await bench.state(task)).stage == Stage.PROCESSING


async def test_an_output_that_came_with_the_answer_waits_in_the_object_store(bench: Bench) -> None:
    task = await bench.task()
    bench.provider.submissions.append(Made(b"a picture"))
    await bench.attend()
    (produced,) = (one for one in await bench.events(task) if one["type"] == "OutputProduced")
    assert produced["url"] == ""
    path = bench.objects.incoming.parent / produced["object_key"]
    assert path.read_bytes() == b"a picture"
    assert (await bench.state(task)).stage == Stage.STORING
    assert await state_of(bench, task) == "done"
