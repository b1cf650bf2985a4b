"""What becomes of a user's tasks and words when an admin shuts them out, or they are erased."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from contracts.credits import CreditsReserved
from contracts.envelope import Envelope, PublicEvent
from contracts.keys import UserDisabled, UserErased
from kernel.clock import new_id
from kernel.identifiers import parsed
from kernel.leavers import Leavers
from kernel.projections import rebuild, verify
from kernel.testing import envelope_of
from services.generation.adapters import leaving
from services.generation.adapters.leaving import STILL_ADMITTED_FOR, STILL_COMMITTING_FOR, Leaving
from services.generation.adapters.providers import Fault, Made, Refused, Running
from services.generation.app import AGGREGATES
from services.generation.domain.task import Stage
from services.generation.read_model import READ_MODEL
from tests.generation.conftest import Bench, Generation, person, until


async def hear(bench: Bench | Generation, *events: PublicEvent) -> list[Envelope]:
    inbox = bench.service.inbox
    assert inbox is not None
    envelopes = [envelope_of(event) for event in events]
    for envelope in envelopes:
        await inbox.receive(envelope)
    return envelopes


async def attend(bench: Bench) -> int:
    """All steps that are due now; how many there were."""
    store = bench.service.store
    assert store is not None
    steps = Leaving(store)
    shut_outs = Leavers(store.database, bench.clock, "generation.shut_outs", steps.shut_out)
    erasures = Leavers(store.database, bench.clock, "generation.erasures", steps.erase)
    taken = 0
    while now := await shut_outs.attend() + await erasures.attend():
        taken += now
    return taken


def disabled(bench: Bench, user_id: UUID) -> UserDisabled:
    return UserDisabled(user_id=user_id, account_id=user_id, disabled_at=bench.clock.now())


def erased(bench: Bench | Generation, user_id: UUID) -> UserErased:
    return UserErased(user_id=user_id, account_id=user_id, erased_at=bench.clock.now())


async def stages(bench: Bench, tasks: Sequence[UUID]) -> set[Stage]:
    return {(await bench.state(task)).stage for task in tasks}


async def said(bench: Bench, kind: str) -> int:
    rows = await bench.rows("SELECT 1 FROM generation.outbox WHERE envelope->>'type' = $1", kind)
    return len(rows)


async def words_of(bench: Bench, user_id: UUID) -> int:
    return len(await bench.rows("SELECT 1 FROM generation.personal WHERE owner_id = $1", user_id))


async def test_the_active_tasks_of_who_is_shut_out_are_cancelled_and_say_so(bench: Bench) -> None:
    queued, running = await bench.task(), await bench.task()
    await bench.attend()
    await hear(bench, disabled(bench, bench.user_id))
    await attend(bench)
    assert await stages(bench, [queued, running]) == {Stage.CANCELLED}
    assert await said(bench, "TaskCancelled") == 2
    assert await bench.rows("SELECT 1 FROM generation.task_deadlines") == []
    assert await words_of(bench, bench.user_id) == 2


async def test_the_tasks_of_others_and_those_that_have_ended_are_left_alone(bench: Bench) -> None:
    bench.provider.submissions.append(Refused(Fault.INVALID, "no"))
    ended = await bench.task()
    await bench.attend()
    await hear(bench, disabled(bench, new_id()))
    active = await bench.task()
    await attend(bench)
    assert await stages(bench, [active]) == {Stage.QUEUED}
    await hear(bench, disabled(bench, bench.user_id))
    await attend(bench)
    assert await stages(bench, [ended]) == {Stage.FAILED}


async def test_who_is_shut_out_more_than_once_has_each_task_cancelled_once(bench: Bench) -> None:
    await bench.task()
    message, _ = await hear(bench, disabled(bench, bench.user_id), disabled(bench, bench.user_id))
    await attend(bench)
    assert bench.service.inbox is not None
    await bench.service.inbox.receive(message)
    await hear(bench, disabled(bench, bench.user_id))
    await attend(bench)
    assert await said(bench, "TaskCancelled") == 1


async def test_a_task_that_a_gateway_let_through_a_moment_later_is_cancelled_too(
    bench: Bench,
) -> None:
    await hear(bench, disabled(bench, bench.user_id))
    await attend(bench)
    bench.clock.turn(STILL_ADMITTED_FOR)
    late = await bench.task()
    await attend(bench)
    assert await stages(bench, [late]) == {Stage.CANCELLED}
    bench.clock.turn(STILL_COMMITTING_FOR)
    await attend(bench)
    assert (
        await bench.rows("SELECT 1 FROM generation.shut_outs WHERE next_step_at IS NOT NULL") == []
    )


async def test_a_word_that_is_heard_late_leaves_what_was_begun_since_alone(bench: Bench) -> None:
    """Who was let in again meanwhile may work."""
    event = disabled(bench, bench.user_id)
    bench.clock.turn(STILL_ADMITTED_FOR + timedelta(seconds=1))
    task = await bench.task()
    await hear(bench, event)
    await attend(bench)
    assert await stages(bench, [task]) == {Stage.QUEUED}


async def test_any_number_of_tasks_is_cancelled_a_few_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "CANCEL_BATCH", 2)
    monkeypatch.setattr(leaving, "DELETE_BATCH", 2)
    tasks = [await bench.task() for _ in range(5)]
    await hear(bench, erased(bench, bench.user_id))
    assert await attend(bench) >= 5
    assert await stages(bench, tasks) == {Stage.CANCELLED}
    assert await words_of(bench, bench.user_id) == 0


async def test_an_erased_user_leaves_no_words_and_no_active_task_and_keeps_the_events(
    bench: Bench,
) -> None:
    bench.provider.submissions.append(Refused(Fault.INVALID, "what you asked: a harbour"))
    failed = await bench.task()
    await bench.attend()
    active = await bench.task()
    await bench.rows(
        "INSERT INTO generation.idempotency (principal, route, key, body_sha256, resource,"
        " status, response, created_at) VALUES ($1, 'r', 'k', '', 'x', 201, '{}', now())",
        str(bench.user_id),
    )
    before = await bench.events(active)
    await hear(bench, erased(bench, bench.user_id))
    await attend(bench)
    assert await words_of(bench, bench.user_id) == 0
    assert await stages(bench, [failed, active]) == {Stage.FAILED, Stage.CANCELLED}
    assert await bench.rows("SELECT 1 FROM generation.idempotency") == []
    assert await bench.rows("SELECT 1 FROM generation.provider_jobs WHERE error ~ 'harbour'") == []
    assert (await bench.events(active))[: len(before)] == before


async def test_what_a_vendor_says_of_an_erased_users_job_later_is_forgotten_too(
    bench: Bench,
) -> None:
    task = await bench.task()
    await bench.attend()
    await hear(bench, erased(bench, bench.user_id))
    await attend(bench)
    bench.provider.looks.extend([Running(50), Refused(Fault.FAILED, "a harbour, you said")])
    await bench.attend(10)
    await bench.attend(10)
    [job] = await bench.job_rows(task)
    assert (job["state"], job["error"]) == ("failed", "a harbour, you said")
    bench.clock.turn(timedelta(seconds=leaving.JOBS_LOOK_AGAIN_S))
    await attend(bench)
    [job] = await bench.job_rows(task)
    assert job["error"] is None
    assert (
        await bench.rows("SELECT 1 FROM generation.erasures WHERE next_step_at IS NOT NULL") == []
    )


async def test_a_picture_that_arrives_after_the_erasure_leaves_no_object(bench: Bench) -> None:
    await bench.task()

    async def erase() -> None:
        await hear(bench, erased(bench, bench.user_id))
        await attend(bench)

    bench.provider.on_submit = erase
    bench.provider.submissions.append(Made(b"picture"))
    await bench.attend()
    assert _claims(bench) == []


async def test_a_picture_whose_record_was_lost_is_deleted_when_its_job_is_given_up(
    bench: Bench,
) -> None:
    task = await bench.task()
    bench.provider.submissions.append(Refused(Fault.UNKNOWN, "lost"))
    await bench.attend()
    [job] = await bench.job_rows(task)
    await bench.objects.put_bytes(f"claims/{job['job_id']}", b"picture")
    await bench.attend(120)
    assert await stages(bench, [task]) == {Stage.FAILED}
    assert _claims(bench) == []


def _claims(bench: Bench) -> list[str]:
    root = bench.objects.incoming.parent
    return [path.name for path in root.rglob("*") if path.is_file()]


async def test_an_erasure_may_come_before_anything_is_known_and_more_than_once(
    bench: Bench,
) -> None:
    stranger = new_id()
    await hear(bench, *(erased(bench, stranger) for _ in range(3)), disabled(bench, stranger))
    await attend(bench)
    assert bench.service.inbox is not None
    assert await bench.service.inbox.parked() == []
    [row] = await bench.rows("SELECT user_id, next_step_at FROM generation.erasures")
    assert (row["user_id"], row["next_step_at"]) == (stranger, None)


async def test_a_reservation_that_comes_after_the_erasure_starts_nothing(bench: Bench) -> None:
    task = await bench.task()
    await hear(bench, erased(bench, bench.user_id))
    await attend(bench)
    reserved = CreditsReserved(task_id=task, account_id=bench.user_id, amount_units=15_000)
    await hear(bench, reserved)
    await bench.attend()
    assert bench.provider.asked == []
    assert await stages(bench, [task]) == {Stage.CANCELLED}


async def test_a_rebuild_after_an_erasure_gives_the_same_rows(bench: Bench) -> None:
    await bench.task()
    await hear(bench, erased(bench, bench.user_id))
    await attend(bench)
    before = await bench.rows("SELECT * FROM generation_read.generation_tasks")
    await rebuild(bench.platform.database, "generation", READ_MODEL, AGGREGATES)
    assert await bench.rows("SELECT * FROM generation_read.generation_tasks") == before
    assert await verify(bench.platform.database, "generation", AGGREGATES) == []


async def test_an_erased_user_can_create_no_task(generation: Generation) -> None:
    me = person()
    await hear(generation, erased(generation, me.user_id))
    answer = await generation.create(me, {"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
    for table in ("generation.personal", "generation.events", "generation.idempotency"):
        assert await generation.rows(f"SELECT 1 FROM {table}") == []


async def test_tasks_created_while_their_user_is_erased_leave_no_words(
    generation: Generation,
) -> None:
    me = person()

    async def create() -> int:
        return (await generation.create(me)).status_code

    asked = [asyncio.ensure_future(create()) for _ in range(12)]
    await until(lambda: _some_created(generation))
    await hear(generation, erased(generation, me.user_id))
    assert set(await asyncio.gather(*asked)) <= {201, 403}

    async def forgotten() -> bool:
        await generation.rows("DELETE FROM generation.provider_jobs")  # no vendor ends them here
        rows = await generation.rows("SELECT 1 FROM generation.erasures WHERE next_step_at IS NULL")
        generation.clock.turn(timedelta(seconds=leaving.JOBS_LOOK_AGAIN_S))
        return bool(rows)

    await until(forgotten)
    assert await generation.rows("SELECT 1 FROM generation.personal") == []
    listed = (await generation.call("GET", "/tasks", me)).json()["tasks"]
    assert {task["status"] for task in listed} == {"cancelled"}
    assert all(parsed("task", task["id"]) and task["prompt"] is None for task in listed)


async def _some_created(generation: Generation) -> bool:
    return bool(await generation.rows("SELECT 1 FROM generation.personal"))
