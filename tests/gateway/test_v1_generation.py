"""The first API at the edge (seed 001), over a generation that was written for the test."""

import json
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from kernel.clock import new_id
from tests.gateway.driving import Answer, World, bearer, read_all, respond

ID = f"task_{new_id().hex}"
MODEL = {
    "id": "nano-banana-pro",
    "name": "Nano Banana Pro",
    "task_type": "image",
    "description": "Images.",
    "credits": {"standard": 1.0},
    "options": {"type": "object"},
}
TASK: dict[str, Any] = {
    "id": ID,
    "task_type": "image",
    "model_id": "nano-banana-pro",
    "prompt": "A beautiful sunset over mountains",
    "options": {"resolution": "1024x1024", "num_images": 1},
    "status": "pending",
    "progress": 0,
    "output_url": None,
    "thumbnail_url": None,
    "credits_used": None,
    "error": None,
    "created_at": "2026-11-24T09:30:00Z",
    "started_at": None,
    "completed_at": None,
}
SEED: dict[str, Any] = {
    "task_type": "image",
    "model_id": "kie-ai/nano-banana-pro",
    "prompt": "A beautiful sunset over mountains",
    "parameters": {"width": 1024, "height": 1024, "num_images": 1},
}


class Native:
    def __init__(self, status: int = 201, said: Any = None) -> None:
        self.status = status
        self.said = said or {"success": True, "task": TASK, "credits_reserved": 1.5}
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads(await read_all(receive) or b"null")
        path = scope["path"].removeprefix("/api/v2/generation")
        self.asked.append((f"{scope['method']} {path}", body))
        if path == "/models":
            answer: tuple[int, Any] = 200, {"success": True, "models": [MODEL]}
        elif path.startswith("/models/"):
            answer = 200, {"success": True, "model": MODEL}
        else:
            answer = self.status, self.said
        await respond(send, answer[0], [], json.dumps(answer[1]).encode())


async def ask(world: World, native: Native, method: str, path: str, body: Any = None) -> Answer:
    world.generation.act = native
    sent = [] if body is None else [json.dumps(body).encode()]
    return await world.ask(method, f"/api/generation{path}", [bearer(world.token())], sent)


async def test_the_seeds_request_creates_a_task_with_its_columns(world: World) -> None:
    native = Native()
    answer = await ask(world, native, "POST", "/generate", SEED)
    assert answer.status == 201
    assert native.asked[-1] == (
        "POST /generate",
        {
            "model_id": "kie-ai/nano-banana-pro",
            "prompt": SEED["prompt"],
            "options": {"num_images": 1, "resolution": "1024x1024"},
        },
    )
    assert answer.json == {
        "success": True,
        "task": {
            "id": ID,
            "task_id": ID,
            "task_type": "image",
            "model_id": "nano-banana-pro",
            "model_name": "Nano Banana Pro",
            "prompt": SEED["prompt"],
            "parameters": TASK["options"],
            "status": "pending",
            "progress": 0,
            "output_url": None,
            "thumbnail_url": None,
            "error_message": None,
            "credits_used": 0.0,
            "created_at": "2026-11-24T09:30:00Z",
            "updated_at": "2026-11-24T09:30:00Z",
            "completed_at": None,
        },
    }


async def test_shows_a_task_and_lists_models(world: World) -> None:
    answer = await ask(world, Native(200), "GET", f"/tasks/{ID}")
    assert (answer.status, answer.json["task"]["task_id"]) == (200, ID)
    answer = await ask(world, Native(), "GET", "/models")
    [model] = answer.json["models"]
    assert (model["id"], model["parameters"]) == ("nano-banana-pro", {"type": "object"})


async def test_the_kind_of_task_must_be_what_the_model_makes(world: World) -> None:
    native = Native()
    answer = await ask(world, native, "POST", "/generate", SEED | {"task_type": "video"})
    assert (answer.status, answer.json["details"]) == (422, {"field": "task_type"})
    assert [line for line, _ in native.asked] == ["GET /models/kie-ai/nano-banana-pro"]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"width": 1024}, "height"), ({"width": 1024, "height": "1024"}, "height")],
)
async def test_a_side_alone_or_as_text_is_refused_by_its_name(
    world: World, parameters: dict[str, Any], named: str
) -> None:
    answer = await ask(world, Native(), "POST", "/generate", SEED | {"parameters": parameters})
    assert (answer.status, answer.json["details"]) == (422, {"field": f"parameters.{named}"})


async def test_a_refused_option_is_named_as_the_parameter_that_it_was(world: World) -> None:
    refusal = {
        "error": "invalid_option",
        "message": "options.steps: is not an option of this model.",
        "details": {"field": "options.steps"},
    }
    answer = await ask(world, Native(422, refusal), "POST", "/generate", SEED)
    assert answer.status == 422
    assert answer.json["details"] == {"field": "parameters.steps"}
    assert answer.json["message"].startswith("parameters.steps: ")


async def test_a_models_name_is_no_path(world: World) -> None:
    native = Native()
    answer = await ask(world, native, "POST", "/generate", SEED | {"model_id": "../tasks?x=1"})
    assert (answer.status, native.asked) == (422, [])
