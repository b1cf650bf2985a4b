"""`/v1/generate` at the edge, over a generation that was written for the test."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from kernel.clock import new_id
from tests.gateway.driving import Answer, World, api_key, bearer, read_all, respond

TASK_ID = new_id()
TASK: dict[str, Any] = {
    "id": f"task_{TASK_ID.hex}",
    "status": "processing",
    "prompt": "a cat, in some style",
    "output_url": None,
    "error": None,
    "created_at": "2026-11-24T09:30:00Z",
}
URL = "https://smartspec.test/media/a.png?signature=1"


class Native:
    """Says of the task what its `states` say, one after the other; the last for ever."""

    def __init__(self, *states: Mapping[str, Any]) -> None:
        self.states = [TASK | dict(state) for state in states]
        self.asked: list[tuple[str, str, Any]] = []
        self.created: tuple[int, Any] | None = None
        self.undelivered: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads(await read_all(receive) or b"null")
        self.asked.append(
            (f"{scope['method']} {scope['path']}", scope["query_string"].decode(), body)
        )
        if scope["path"].endswith("/undelivered"):
            status, answer = 200, {"success": True, "outputs": self.undelivered}
        elif self.created is not None:
            status, answer = self.created
        else:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            status, answer = 200, {"success": True, "task": state}
        await respond(send, status, [], json.dumps(answer).encode())


async def generate(world: World, native: Native, body: Any = None) -> Answer:
    world.generation.act = native
    sent = json.dumps(body or {"prompt": "a cat"}).encode()
    return await world.ask("POST", "/v1/generate", [api_key(world.key())], [sent])


def failed(code: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"code": code, "message": "No picture."}}


DONE = {"status": "completed", "output_url": URL}


async def test_answers_with_the_picture_when_it_is_made(world: World) -> None:
    native = Native({"status": "pending"}, {}, DONE)
    answer = await generate(world, native)
    assert answer.status == 200
    assert answer.json == {
        "id": f"gen_{TASK_ID}",
        "url": URL,
        "prompt": "a cat",
        "created_at": "2026-11-24T09:30:00Z",
    }
    wanted = {
        "model_id": "gemini-image",
        "prompt": "a cat",
        "options": {"resolution": "1024x1024"},
    }
    wait = f"GET /api/v2/generation/tasks/task_{TASK_ID.hex}/wait"
    assert native.asked == [
        ("POST /api/v2/generation/generate", "", wanted),
        (wait, "timeout=60", None),
        (wait, "timeout=55", None),
    ]


async def test_a_style_is_said_behind_the_prompt_and_not_shown(world: World) -> None:
    native = Native(DONE)
    body = {"prompt": "a cat", "size": "512x768", "style": "artistic"}
    answer = await generate(world, native, body)
    asked = native.asked[0][2]
    assert asked["prompt"].startswith("a cat, in an expressive")
    assert asked["options"] == {"resolution": "512x768"}
    assert answer.json["prompt"] == "a cat"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (failed("content_moderated"), 422),
        (failed("input_refused"), 422),
        (failed("provider_failed"), 502),
        (failed("provider_unavailable"), 502),
        (failed("delivery_failed"), 502),
        ({"status": "cancelled"}, 409),
    ],
)
async def test_says_why_there_is_no_picture(
    world: World, state: Mapping[str, Any], status: int
) -> None:
    answer = await generate(world, Native(state))
    assert answer.status == status
    assert answer.json.keys() == {"detail"}


async def test_a_picture_that_takes_too_long_is_told_by_its_id(world: World) -> None:
    answer = await generate(world, Native({}))
    assert answer.status == 504
    assert f"gen_{TASK_ID}" in answer.json["detail"]


@pytest.mark.parametrize("status", [402, 403, 422, 503])
async def test_what_generation_refuses_is_told_in_this_form(world: World, status: int) -> None:
    native = Native({})
    native.created = (status, {"error": "x", "message": "No.", "details": {}})
    answer = await generate(world, native)
    assert (answer.status, answer.json) == (status, {"detail": "No."})
    assert len(native.asked) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"size": "1024x1024"}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": "a cat", "size": "large"}, "size"),
        ({"prompt": "a cat", "style": "baroque"}, "style"),
        ({"prompt": "a cat", "model": "x"}, "model"),
    ],
)
async def test_a_malformed_body_names_the_field(world: World, body: Any, field: str) -> None:
    native = Native(DONE)
    answer = await generate(world, native, body)
    assert answer.status == 422
    assert answer.json["detail"].startswith(f"{field}: ")
    assert native.asked == []


async def test_a_sign_in_does_not_do(world: World) -> None:
    answer = await world.ask("POST", "/v1/generate", [bearer(world.token())], [b"{}"])
    assert answer.status == 401


async def test_a_key_without_the_scope_is_forbidden(world: World) -> None:
    key = world.key(scopes=["credits:read"])
    answer = await world.ask("POST", "/v1/generate", [api_key(key)], [b"{}"])
    assert (answer.status, answer.json.keys()) == (403, {"detail"})


async def test_a_picture_that_could_not_be_stored_comes_as_a_data_uri(world: World) -> None:
    native = Native(failed("storage_failed"))
    native.undelivered = [{"index": 0, "mime_type": "image/png", "content_base64": "iVBORw=="}]
    answer = await generate(world, native)
    assert (answer.status, answer.json["url"]) == (200, "data:image/png;base64,iVBORw==")
    assert answer.json["id"] == f"gen_{TASK_ID}"


async def test_a_large_picture_comes_so_too(world: World) -> None:
    native = Native(failed("storage_failed"))
    content = "A" * 8 * 1_048_576
    native.undelivered = [{"index": 0, "mime_type": "image/png", "content_base64": content}]
    assert (await generate(world, native)).json["url"].endswith(content)


async def test_a_picture_that_is_not_there_any_more_is_a_failure(world: World) -> None:
    answer = await generate(world, Native(failed("storage_failed")))
    assert answer.status == 502


async def test_without_a_key_of_google_it_is_503_and_says_so(world: World) -> None:
    native = Native({})
    words = "No provider of gemini-image has a key here."
    native.created = 503, {"error": "provider_not_configured", "message": words, "details": {}}
    answer = await generate(world, native)
    assert (answer.status, answer.json) == (503, {"detail": words})
