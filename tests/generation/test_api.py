"""The v2 API of generation over a bus with a ledger that says what it is told to."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from kernel.clock import new_id
from kernel.identifiers import parsed
from services.generation.domain.task import TASK
from tests.generation.conftest import PATIENCE_S, PROMPT, Generation, person, until

KEYED = {"Idempotency-Key": "order-1"}


def id_of(answer: httpx.Response) -> UUID:
    task_id = parsed("task", answer.json()["task"]["id"])
    assert task_id is not None
    return task_id


def fields(answer: httpx.Response) -> list[str]:
    details = answer.json()["details"]
    return [details["field"]] if "field" in details else [f["field"] for f in details["fields"]]


async def test_creates_a_task_whose_credits_are_reserved_in_fact(generation: Generation) -> None:
    me = person()
    options = {"aspect_ratio": "16:9", "resolution": "1024x576", "num_images": 2}
    answer = await generation.create(me, options=options, metadata={"order": "7"})
    assert answer.status_code == 201
    body = answer.json()
    assert (body["success"], body["credits_reserved"]) == (True, 3.0)
    assert body["task"] == {
        "id": body["task"]["id"],
        "status": "pending",
        "progress": 0,
        "task_type": "image",
        "model_id": "nano-banana-pro",
        "provider": "kie",
        "prompt": PROMPT,
        "options": options,
        "metadata": {"order": "7"},
        "output_url": None,
        "thumbnail_url": None,
        "outputs": [],
        "credits_reserved": 3.0,
        "credits_used": None,
        "outcome": None,
        "queue_position": None,
        "estimated_seconds": None,
        "error": None,
        "created_at": body["task"]["created_at"],
        "started_at": None,
        "completed_at": None,
    }
    assert body["task"]["created_at"].endswith("Z")
    [heard] = generation.ledger.heard
    assert (heard.price_units, heard.account_id) == (30_000, me.account_id)
    assert len(await generation.rows("SELECT 1 FROM generation.provider_jobs")) == 2


async def test_an_alias_names_the_same_model(generation: Generation) -> None:
    answer = await generation.create(person(), model_id="kie-ai/flux-2")
    assert (answer.status_code, answer.json()["task"]["model_id"]) == (201, "flux-2")


async def test_says_what_is_missing_when_the_ledger_declines(generation: Generation) -> None:
    generation.ledger.answer = "decline"
    me = person()
    answer = await generation.create(me)
    assert answer.status_code == 402
    assert answer.json()["error"] == "insufficient_credits"
    assert answer.json()["details"] == {"required": 1.0, "available": 0.5}
    listed = await generation.call("GET", "/tasks", me)
    assert listed.json()["tasks"] == []
    assert await generation.rows("SELECT 1 FROM generation.provider_jobs") == []
    assert await generation.rows("SELECT 1 FROM generation.task_deadlines") == []


async def test_says_how_far_the_keys_monthly_limit_is_when_that_is_why(
    generation: Generation,
) -> None:
    generation.ledger.answer = "limit"
    me = person()
    answers = [await generation.create(me, KEYED) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 402
        assert answer.json()["error"] == "monthly_credit_limit_reached"
        assert answer.json()["details"] == {"required": 1.0, "limit": 7.0, "used": 6.5}
    assert len(generation.ledger.heard) == 1
    listed = await generation.call("GET", "/tasks", me)
    assert listed.json()["tasks"] == []


async def test_fails_the_task_of_a_silent_ledger_and_ignores_what_it_says_later(
    impatient: Generation,
) -> None:
    impatient.ledger.answer = "silent"
    me = person()
    answer = await impatient.create(me)
    assert (answer.status_code, answer.json()["error"]) == (503, "credits_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    await until(lambda: _heard(impatient, 1))
    [created] = impatient.ledger.heard
    await impatient.ledger.say(created, reserved=True)
    shown = (await impatient.call("GET", f"/tasks/task_{created.task_id.hex}", me)).json()["task"]
    assert (shown["status"], shown["outcome"], shown["credits_used"]) == (
        *("failed", "credits_unavailable"),
        0.0,
    )
    assert await impatient.rows("SELECT 1 FROM generation.provider_jobs") == []


async def _heard(generation: Generation, count: int) -> bool:
    return len(generation.ledger.heard) == count


async def test_the_key_of_a_request_that_came_to_nothing_may_try_anew(
    impatient: Generation,
) -> None:
    impatient.ledger.answer = "silent"
    me = person()
    assert (await impatient.create(me, KEYED)).status_code == 503
    impatient.ledger.answer = "decline"
    answer = await impatient.create(me, KEYED)
    assert "idempotency-replayed" not in answer.headers
    await until(lambda: _heard(impatient, 2))


async def test_answers_as_soon_as_a_slow_ledger_has_spoken(generation: Generation) -> None:
    generation.ledger.answer = "silent"
    creating = asyncio.create_task(generation.create(person()))
    await until(lambda: _heard(generation, 1))
    await generation.ledger.say(generation.ledger.heard[0], reserved=True)
    assert (await creating).status_code == 201


async def test_the_same_key_and_body_get_the_first_answer_again(generation: Generation) -> None:
    me = person()
    first = await generation.create(me, KEYED, metadata={"a": "b"})
    again = await generation.create(me, KEYED, metadata={"a": "b"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(generation.ledger.heard) == 1


async def test_a_refusal_for_want_of_credits_is_repeated_too(generation: Generation) -> None:
    generation.ledger.answer = "decline"
    me = person()
    first, again = await generation.create(me, KEYED), await generation.create(me, KEYED)
    assert (again.status_code, again.json()) == (402, first.json())
    assert len(generation.ledger.heard) == 1


async def test_the_same_key_with_another_body_is_a_mismatch(generation: Generation) -> None:
    me = person()
    await generation.create(me, KEYED)
    answer = await generation.create(me, KEYED, prompt="Another")
    assert (answer.status_code, answer.json()["error"]) == (422, "idempotency_mismatch")


async def test_the_same_key_of_another_user_is_another_key(generation: Generation) -> None:
    first, other = (
        await generation.create(person(), KEYED),
        await generation.create(person(), KEYED),
    )
    assert first.status_code == other.status_code == 201
    assert id_of(first) != id_of(other)


async def test_a_key_whose_first_request_still_runs_is_in_progress(generation: Generation) -> None:
    generation.ledger.answer = "silent"
    me = person()
    creating = asyncio.create_task(generation.create(me, KEYED))
    await until(lambda: _heard(generation, 1))
    answer = await generation.create(me, KEYED)
    assert (answer.status_code, answer.json()["error"]) == (409, "idempotency_in_progress")
    await generation.ledger.say(generation.ledger.heard[0], reserved=True)
    assert (await creating).status_code == 201


async def test_many_requests_with_one_key_at_once_make_one_task(generation: Generation) -> None:
    me = person()
    answers = await asyncio.gather(*(generation.create(me, KEYED) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({id_of(answer) for answer in answers if answer.status_code == 201}) == 1
    assert len(generation.ledger.heard) == 1


async def test_what_the_user_wrote_is_nowhere_in_the_clear(generation: Generation) -> None:
    secret = "canary-in-a-coal-mine"
    options = {"negative_prompt": secret}
    answer = await generation.create(
        person(), KEYED, prompt=secret, options=options, metadata={"note": secret}
    )
    assert answer.json()["task"]["prompt"] == secret
    stored = ""
    for table in await generation.rows(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
        " WHERE table_schema IN ('generation', 'generation_read')"
    ):
        stored += str(await generation.rows(f"SELECT * FROM {table['name']}"))
    assert answer.json()["task"]["id"][5:] in stored.replace("-", "")
    assert secret not in stored


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no model": ({"model_id": None}, ["model_id"]),
    "no prompt": ({"prompt": None}, ["prompt"]),
    "an empty prompt": ({"prompt": ""}, ["prompt"]),
    "a blank prompt": ({"prompt": " \n\t\u3000"}, ["prompt"]),
    "too long a prompt": ({"prompt": "x" * 10_001}, ["prompt"]),
    "half a surrogate pair": ({"prompt": "\ud800"}, ["prompt"]),
    "too long a prompt for its model": (
        {"prompt": "x" * 5_001, "model_id": "flux-2"},
        ["prompt"],
    ),
    "a prompt that is no text": ({"prompt": 7}, ["prompt"]),
    "an unknown field": ({"colour": "red"}, ["colour"]),
    "an unknown option": ({"options": {"colour": "red"}}, ["options.colour"]),
    "an unknown ratio": ({"options": {"aspect_ratio": "5:4"}}, ["options.aspect_ratio"]),
    "an unknown quality": ({"options": {"quality": "best"}}, ["options.quality"]),
    "no resolution": ({"options": {"resolution": "big"}}, ["options.resolution"]),
    "a resolution against its ratio": (
        {"options": {"resolution": "1024x576", "aspect_ratio": "1:1"}},
        ["options.resolution"],
    ),
    "a quality against its resolution": (
        {"options": {"resolution": "512x512", "quality": "hd"}},
        ["options.quality"],
    ),
    "a size without price": (
        {"model_id": "flux-2", "options": {"quality": "4k"}},
        ["options.quality"],
    ),
    "no images": ({"options": {"num_images": 0}}, ["options.num_images"]),
    "five images": ({"options": {"num_images": 5}}, ["options.num_images"]),
    "images as text": ({"options": {"num_images": "2"}}, ["options.num_images"]),
    "a negative seed": ({"options": {"seed": -1}}, ["options.seed"]),
    "too much metadata": ({"metadata": {str(n): "x" for n in range(17)}}, ["metadata"]),
    "metadata that is no text": ({"metadata": {"a": 1}}, ["metadata.a"]),
    "two faults": ({"prompt": "", "colour": "red"}, ["prompt", "colour"]),
}


async def test_refuses_what_is_not_acceptable_naming_each_field(generation: Generation) -> None:
    me = person()
    for name, (changes, named) in REFUSED.items():
        answer = await generation.create(me, **changes)
        assert answer.status_code == 422, name
        assert sorted(fields(answer)) == sorted(named), name
    assert generation.ledger.heard == []


ACCEPTABLE: tuple[dict[str, Any], ...] = (
    {"prompt": "x" * 10_000},
    {"prompt": "\0 and \U0001f3d4"},
    {"metadata": {str(n): "x" * 512 for n in range(16)}},
    {"options": {"num_images": 4, "seed": 2**31 - 1, "quality": "4k"}},
    {"options": {"num_images": 1, "resolution": "256x4096"}},
)


async def test_takes_what_is_just_acceptable(generation: Generation) -> None:
    for changes in ACCEPTABLE:
        answer = await generation.create(person(), **changes)
        assert answer.status_code == 201, changes
        assert answer.json()["task"] == answer.json()["task"] | changes


async def test_knows_no_such_model(generation: Generation) -> None:
    answer = await generation.create(person(), model_id="dall-e")
    assert (answer.status_code, answer.json()["error"]) == (404, "model_not_found")
    assert fields(answer) == ["model_id"]


async def test_refuses_a_key_that_is_not_printable(generation: Generation) -> None:
    answer = await generation.create(person(), {"Idempotency-Key": "x" * 256})
    assert (answer.status_code, fields(answer)) == (422, ["Idempotency-Key"])


async def test_estimates_what_a_task_costs_and_creates_nothing(generation: Generation) -> None:
    body = {"model_id": "nano-banana-pro", "options": {"quality": "4k", "num_images": 3}}
    answer = await generation.call("POST", "/estimate", person(), body)
    assert (answer.status_code, answer.json()["credits"]) == (200, 6.0)
    assert answer.json()["breakdown"]["credits_each"] == 2.0
    assert await generation.rows("SELECT 1 FROM generation.events") == []


async def test_shows_a_completed_task_with_signed_links(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    await generation.complete(task_id)
    task = (await generation.call("GET", f"/tasks/task_{task_id.hex}", me)).json()["task"]
    assert (task["status"], task["progress"], task["outcome"]) == ("completed", 100, "completed")
    assert (task["credits_used"], task["credits_reserved"]) == (1.0, 0.0)
    assert task["output_url"].startswith(f"{generation.platform.public_base_url}/media/images/")
    assert "signature=" in task["output_url"]
    assert task["outputs"][0]["url"] == task["output_url"]
    assert task["outputs"][0]["sha256"] == "0" * 64
    assert task["completed_at"].endswith("Z")


async def test_answers_for_another_users_task_as_for_none(generation: Generation) -> None:
    theirs = id_of(await generation.create(person())).hex
    me = person()
    for shown in (f"task_{theirs}", f"task_{new_id().hex}", theirs, "task_x", f"task_{theirs}0"):
        for method, path in (("GET", ""), ("GET", "/wait"), ("GET", "/events"), ("DELETE", "")):
            answer = await generation.call(method, f"/tasks/{shown}{path}", me)
            assert (answer.status_code, answer.json()["error"]) == (404, "task_not_found"), shown
    assert (await generation.rows("SELECT stage FROM generation_read.generation_tasks")) == [
        {"stage": "queued"}
    ]


async def test_pages_through_the_callers_tasks_newest_first(generation: Generation) -> None:
    me = person()
    mine = [id_of(await generation.create(me)).hex for _ in range(5)]
    await generation.create(person())
    listed: list[str] = []
    cursor, pages = "", 0
    while cursor is not None:
        query = f"?limit=2{cursor and '&cursor='}{cursor}"
        page = (await generation.call("GET", f"/tasks{query}", me)).json()
        listed += [task["id"] for task in page["tasks"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert listed == [f"task_{task_id}" for task_id in reversed(mine)]
    assert pages == 3


async def test_lists_what_passes_all_filters(generation: Generation) -> None:
    me = person()
    first = id_of(await generation.create(me))
    await generation.complete(first)
    generation.clock.turn(timedelta(hours=1))
    middle = generation.clock.now().isoformat().replace("+00:00", "Z")
    generation.clock.turn(timedelta(hours=1))
    second = id_of(await generation.create(me, model_id="flux-2"))
    for query, wanted in (
        ("status=completed", [first]),
        ("status=pending", [second]),
        ("status=failed", []),
        ("model=kie-ai/flux-2", [second]),
        ("model=gone", []),
        ("type=image", [second, first]),
        (f"created_after={middle}", [second]),
        (f"created_before={middle}", [first]),
        (f"created_before={middle}&status=pending", []),
        (f"created_after={middle}&model=flux-2&type=image&status=pending", [second]),
    ):
        listed = (await generation.call("GET", f"/tasks?{query}", me)).json()["tasks"]
        assert [task["id"] for task in listed] == [f"task_{one.hex}" for one in wanted], query


async def test_pages_through_what_passes_a_filter(generation: Generation) -> None:
    me = person()
    models = ["flux-2", "nano-banana-pro"] * 3
    mine = [id_of(await generation.create(me, model_id=model)).hex for model in models]
    listed: list[str] = []
    cursor = ""
    while cursor is not None:
        query = f"?limit=2&model=flux-2{cursor and '&cursor='}{cursor}"
        page = (await generation.call("GET", f"/tasks{query}", me)).json()
        listed += [task["id"] for task in page["tasks"]]
        cursor = page["next_cursor"]
    assert listed == [f"task_{task_id}" for task_id in reversed(mine[::2])]


async def test_refuses_what_is_no_cursor_limit_or_filter(generation: Generation) -> None:
    for query, field in (
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("status=done", "status"),
        ("type=smell", "type"),
        ("model=", "model"),
        ("model=%00", "model"),
        ("created_after=yesterday", "created_after"),
        ("created_after=1767225600", "created_after"),
        ("created_after=2026-01-01", "created_after"),
        ("created_before=2026-01-01T00:00:00", "created_before"),
        ("created_before=2026-13-01T00:00:00Z", "created_before"),
        ("created_before=0001-01-01T00:00:00%2B23:59", "created_before"),
    ):
        answer = await generation.call("GET", f"/tasks?{query}", person())
        assert (answer.status_code, fields(answer)) == (422, [field]), query


async def test_waiting_for_a_task_that_has_ended_answers_at_once(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    await generation.complete(task_id)
    path = f"/tasks/task_{task_id.hex}/wait?timeout=120"
    answer = await asyncio.wait_for(generation.call("GET", path, me), PATIENCE_S)
    assert answer.json()["task"]["status"] == "completed"


async def test_waiting_ends_when_the_task_does(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    path = f"/tasks/task_{task_id.hex}/wait?timeout=120"
    waiting = asyncio.create_task(generation.call("GET", path, me))
    waiters = generation.service.waiters
    assert waiters is not None
    await until(lambda: _waits(generation, task_id))
    await generation.complete(task_id)
    answer = await asyncio.wait_for(waiting, PATIENCE_S)
    assert answer.json()["task"]["status"] == "completed"


async def _waits(generation: Generation, task_id: UUID) -> bool:
    assert generation.service.waiters is not None
    return task_id in generation.service.waiters._by_id


async def test_waiting_answers_the_state_as_it_is_at_the_time_out(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    began = asyncio.get_running_loop().time()
    answer = await generation.call("GET", f"/tasks/task_{task_id.hex}/wait?timeout=1", me)
    assert asyncio.get_running_loop().time() - began >= 1
    assert (answer.status_code, answer.json()["task"]["status"]) == (200, "pending")


async def test_refuses_to_wait_longer_or_shorter_than_it_may(generation: Generation) -> None:
    path = f"/tasks/task_{new_id().hex}/wait"
    for timeout in ("0", "121", "nan", "inf", "soon"):
        answer = await generation.call("GET", f"{path}?timeout={timeout}", person())
        assert (answer.status_code, fields(answer)) == (422, ["timeout"]), timeout


async def test_cancels_an_active_task_at_no_cost(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    answer = await generation.call("DELETE", f"/tasks/task_{task_id.hex}", me)
    task = answer.json()["task"]
    assert (answer.status_code, task["status"], task["outcome"]) == (200, "cancelled", "cancelled")
    assert (task["credits_used"], task["credits_reserved"]) == (0.0, 0.0)
    assert await generation.rows("SELECT 1 FROM generation.task_deadlines") == []


async def test_a_task_that_has_ended_is_removed_and_then_there_is_none(
    generation: Generation,
) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    await generation.complete(task_id)
    path = f"/tasks/task_{task_id.hex}"
    answer = await generation.call("DELETE", path, me)
    task = answer.json()["task"]
    assert (answer.status_code, task["status"], task["credits_used"]) == (200, "completed", 1.0)
    for method, gone in (("GET", ""), ("GET", "/wait"), ("GET", "/events"), ("DELETE", "")):
        again = await generation.call(method, f"{path}{gone}", me)
        assert (again.status_code, again.json()["error"]) == (404, "task_not_found"), gone
    assert (await generation.call("GET", "/tasks", me)).json()["tasks"] == []
    assert await generation.rows("SELECT 1 FROM generation.personal") == []
    assert generation.service.store is not None
    state, _ = await generation.service.store.read(TASK, TASK.stream_id(task_id))
    assert state.stage == "removed"


async def test_two_removals_at_once_are_one(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    await generation.complete(task_id)
    path = f"/tasks/task_{task_id.hex}"
    answers = await asyncio.gather(*(generation.call("DELETE", path, me) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 404}
    kinds = await generation.rows("SELECT type FROM generation.events WHERE type = 'TaskRemoved'")
    assert len(kinds) == 1


async def test_lists_models_with_their_prices_and_options(generation: Generation) -> None:
    listed = (await generation.call("GET", "/models", person())).json()["models"]
    assert {"nano-banana-pro", "flux-2", "flux-2-pro"} <= {model["id"] for model in listed}
    one = await generation.call("GET", "/models/kie-ai/nano-banana-pro", person())
    model = one.json()["model"]
    assert model["credits"] == {"standard": 1.0, "hd": 1.5, "4k": 2.0}
    assert "16:9" in model["options"]["properties"]["aspect_ratio"]["enum"]
    assert (await generation.call("GET", "/models/x", person())).status_code == 404


async def test_answers_nobody_without_the_gateways_word(generation: Generation) -> None:
    task = f"/tasks/task_{new_id().hex}"
    for method, path in (
        *(("POST", "/generate"), ("POST", "/estimate"), ("GET", "/tasks"), ("GET", task)),
        *(("GET", f"{task}/wait"), ("DELETE", task), ("GET", "/models"), ("GET", "/models/x")),
        *(("GET", f"{task}/events"), ("GET", "/outcomes")),
    ):
        body = {"model_id": "flux-2"} if method == "POST" else None
        if path == "/generate":
            body = {"model_id": "flux-2", "prompt": PROMPT}
        answer = await generation.call(method, path, None, body)
        assert answer.status_code == 401, path


async def test_tells_who_pays_for_which_outcome(generation: Generation) -> None:
    answer = await generation.call("GET", "/outcomes", person())
    rows = {row["name"]: row for row in answer.json()["outcomes"]}
    assert rows["completed"]["user_pays"]
    assert not rows["cancelled"]["user_pays"]
    assert all(row["meaning"] for row in rows.values())
