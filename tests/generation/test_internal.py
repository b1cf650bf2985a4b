"""What generation tells other services of its tasks, and nobody else."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from kernel.clock import new_id
from kernel.http import Identity
from kernel.http.identity import HEADER, ITSELF
from services.generation.adapters.providers import Fault, Refused, Succeeded
from services.generation.api.internal import LIVE_MAX, STATES_MAX
from services.generation.domain.messages import CancelTask
from services.generation.domain.task import SAGA, TASK
from tests.generation.conftest import PROMPT, Bench, Generation, person

URL = "https://cdn.test/a.png"


async def ask(bench: Bench, path: str, question: Any, who: Identity = ITSELF) -> httpx.Response:
    assert bench.service.app is not None
    transport = httpx.ASGITransport(bench.service.app)
    headers = {HEADER: bench.platform.internal_tokens.mint(who)}
    async with httpx.AsyncClient(transport=transport, base_url="http://generation") as client:
        return await client.post(f"/internal/tasks/{path}", json=question, headers=headers)


async def told(bench: Bench, path: str, question: Any) -> Any:
    answer = await ask(bench, path, question)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def cancel(bench: Bench, task_id: UUID) -> None:
    assert bench.service.store is not None
    await bench.service.store.handle(SAGA, TASK.stream_id(task_id), CancelTask(bench.clock.now()))


async def test_tells_what_each_task_has_come_to_and_leaves_out_what_never_was(
    bench: Bench,
) -> None:
    bench.provider.submissions.append(Refused(Fault.MODERATED, "no"))
    failed = await bench.task()
    await bench.attend()
    cancelled, live = await bench.task(), await bench.task()
    await cancel(bench, cancelled)
    asked = [str(one) for one in (failed, cancelled, live, new_id())]
    tasks = (await told(bench, "states", {"task_ids": asked}))["tasks"]
    at = bench.clock.now().isoformat().replace("+00:00", "Z")
    common = {"account_id": str(bench.user_id), "price_units": 15_000, "charged_units": 0}
    assert tasks == {
        str(failed): {
            **common,
            "stage": "failed",
            "outcome": "output_moderated",
            "ended_at": at,
        },
        str(cancelled): {**common, "stage": "cancelled", "outcome": "cancelled", "ended_at": at},
        str(live): {**common, "stage": "queued", "outcome": "", "ended_at": None},
    }


async def test_tells_the_charge_of_a_completed_task(generation: Generation) -> None:
    created = await generation.create(person())
    task_id = UUID(hex=created.json()["task"]["id"].removeprefix("task_"))
    await generation.complete(task_id)
    answer = await generation.client.post(
        "/internal/tasks/states",
        json={"task_ids": [str(task_id)]},
        headers={HEADER: generation.platform.internal_tokens.mint(ITSELF)},
    )
    state = answer.json()["tasks"][str(task_id)]
    assert (state["stage"], state["outcome"]) == ("completed", "completed")
    assert state["charged_units"] == state["price_units"] > 0
    assert state["ended_at"] is not None


async def test_a_declined_task_has_ended_at_no_cost(generation: Generation) -> None:
    generation.ledger.answer = "decline"
    await generation.create(person())
    (created,) = generation.ledger.heard
    answer = await generation.client.post(
        "/internal/tasks/states",
        json={"task_ids": [str(created.task_id)]},
        headers={HEADER: generation.platform.internal_tokens.mint(ITSELF)},
    )
    state = answer.json()["tasks"][str(created.task_id)]
    assert (state["stage"], state["outcome"], state["charged_units"]) == ("failed", "declined", 0)
    assert state["ended_at"] is not None


async def test_what_a_vendor_made_too_late_changes_nothing_of_how_a_task_ended(
    bench: Bench,
) -> None:
    task = await bench.task()
    await bench.attend()
    await cancel(bench, task)
    before = await told(bench, "states", {"task_ids": [str(task)]})
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend(after_s=1)
    assert (await bench.events(task))[-1]["type"] == "OutputCameLate"
    assert await told(bench, "states", {"task_ids": [str(task)]}) == before


async def test_lists_the_tasks_that_have_their_credits_page_by_page(bench: Bench) -> None:
    bench.provider.looks.append(Succeeded((URL,)))
    storing = await bench.task()
    await bench.attend()
    await bench.attend(after_s=1)
    processing = await bench.task()
    await bench.attend()
    ended, queued = await bench.task(), await bench.task()
    await cancel(bench, ended)
    first = await told(bench, "live", {"after": None, "limit": 2})
    assert [task["task_id"] for task in first["tasks"]] == [str(storing), str(processing)]
    assert first["tasks"][0]["account_id"] == str(bench.user_id)
    assert first["tasks"][0]["price_units"] == 15_000
    second = await told(bench, "live", {"after": first["next"], "limit": 2})
    assert [task["task_id"] for task in second["tasks"]] == [str(queued)]
    assert second["next"] is None


async def test_a_task_without_its_credits_is_not_live(impatient: Generation) -> None:
    impatient.ledger.answer = "silent"
    await impatient.create(person())
    answer = await impatient.client.post(
        "/internal/tasks/live",
        json={},
        headers={HEADER: impatient.platform.internal_tokens.mint(ITSELF)},
    )
    assert answer.json() == {"tasks": [], "next": None}


async def test_tells_a_tasks_history_in_order_with_what_explains_its_charge(bench: Bench) -> None:
    task = await bench.task()
    await bench.attend()
    bench.provider.looks.append(Refused(Fault.MODERATED, "no"))
    await bench.attend(after_s=1)
    events = (await told(bench, "history", {"task_id": str(task)}))["events"]
    assert [event["type"] for event in events] == [
        *("TaskCreated", "TaskReserved", "ProviderJobSubmitted", "TaskStarted", "TaskFailed"),
    ]
    assert events[0]["correlation_id"] == "request-1"
    assert events[0]["facts"]["price_units"] == 15_000
    assert events[2]["facts"] == {"index": 0, "attempt": 1, "provider": "kie"}
    assert events[-1]["facts"] == {
        "code": "content_moderated",
        "charged_units": 0,
        "outcome": "output_moderated",
    }
    assert all(UUID(event["event_id"]) and event["at"] for event in events)


async def test_a_history_holds_no_words_no_addresses_and_no_vendors_names_of_jobs(
    bench: Bench,
) -> None:
    task = await bench.task()
    await bench.attend()
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend(after_s=1)
    told_of = (await ask(bench, "history", {"task_id": str(task)})).text
    assert "OutputProduced" in told_of
    for secret in (PROMPT, URL, "job-1", "prompt"):
        assert secret not in told_of


async def test_an_unknown_task_has_no_history(bench: Bench) -> None:
    assert await told(bench, "history", {"task_id": str(new_id())}) == {"events": []}


@pytest.mark.parametrize(
    ("path", "question"),
    [("states", {"task_ids": []}), ("live", {}), ("history", {"task_id": str(new_id())})],
)
async def test_tells_services_alone(bench: Bench, path: str, question: Any) -> None:
    admin = Identity(new_id(), new_id(), "admin", "free", frozenset({"admin"}))
    for who in (person(), admin):
        assert (await ask(bench, path, question, who)).status_code == 403


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("states", {"task_ids": [str(new_id())] * (STATES_MAX + 1)}),
        ("states", {"task_ids": ["1"]}),
        ("live", {"limit": LIVE_MAX + 1}),
        ("live", {"limit": 0}),
        ("history", {}),
    ],
)
async def test_answers_no_question_without_bounds(bench: Bench, path: str, question: Any) -> None:
    assert (await ask(bench, path, question)).status_code == 422
