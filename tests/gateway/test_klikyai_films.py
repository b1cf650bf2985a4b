"""KLIKYAI's films at the edge (seed 003), over a generation that was written for the test."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from kernel.clock import new_id
from tests.gateway.driving import Answer, World, bearer, read_all, respond

TASK_ID = new_id()
URL = "https://smartspec.test/media/a.mp4?signature=1"
TASK: dict[str, Any] = {
    "id": f"task_{TASK_ID.hex}",
    "status": "processing",
    "task_type": "avatar",
    "output_url": None,
    "thumbnail_url": None,
    "outputs": [],
    "error": None,
}
DONE: dict[str, Any] = {
    "status": "completed",
    "output_url": URL,
    "thumbnail_url": f"{URL}&small",
    "outputs": [{"duration_seconds": 15.5}],
}
SAID = {"avatar_id": "a", "voice_id": "v", "text": " Hello, welcome! "}
AVATAR = "/ai/heygen/avatar-video-generation"
LEONARDO = "/ai/leonardo/video-generation"


class Native:
    """Answers by path; the last answer of each for ever."""

    def __init__(self, **answers: tuple[int, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads(await read_all(receive) or b"null")
        self.asked.append((f"{scope['method']} {scope['path']}", body))
        last = scope["path"].rpartition("/")[2]
        status, answer = self.answers.get(last, self.answers.get("task", (404, {})))
        await respond(send, status, [], json.dumps(answer).encode())


def telling(state: Mapping[str, Any]) -> Native:
    task = {"success": True, "task": TASK | dict(state)}
    return Native(generate=(201, task), wait=(200, task), task=(200, task))


def refusing(status: int, code: str, field: str | None = None) -> Native:
    details = {} if field is None else {"field": field}
    words = f"{field}: not so." if field else "Not so."
    return Native(generate=(status, {"error": code, "message": words, "details": details}))


async def ask(world: World, native: Native, method: str, path: str, body: Any = None) -> Answer:
    world.generation.act = native
    sent = [] if body is None else [json.dumps(body).encode()]
    return await world.ask(method, path, [bearer(world.token())], sent)


async def test_answers_with_the_avatars_film_as_the_seed_shows_it(world: World) -> None:
    native = telling(DONE)
    answer = await ask(world, native, "POST", AVATAR, {**SAID, "caption": True, "emotion": "happy"})
    assert (answer.status, answer.json) == (
        200,
        {
            "success": True,
            "message": "Avatar video generated successfully",
            "data": {
                "video_id": f"video_{TASK_ID.hex}",
                "video_url": URL,
                "thumbnail_url": f"{URL}&small",
                "status": "completed",
                "duration": 15.5,
            },
        },
    )
    assert native.asked[0] == (
        "POST /api/v2/generation/generate",
        {
            "model_id": "heygen-avatar",
            "prompt": "Hello, welcome!",
            "options": {
                "avatar_id": "a",
                "voice_id": "v",
                "dimension": "16:9",
                "quality": "medium",
                "caption": True,
                "emotion": "happy",
            },
        },
    )


async def test_asks_for_leonardos_film_by_its_size(world: World) -> None:
    native = telling(DONE)
    body = {"prompt": "a fox", "width": 480, "height": 854, "seed": 7}
    answer = await ask(world, native, "POST", LEONARDO, body)
    assert answer.status == 200
    assert native.asked[0][1] == {
        "model_id": "leonardo-motion-2",
        "prompt": "a fox",
        "options": {"resolution": "480p", "aspect_ratio": "9:16", "seed": 7},
    }


async def test_the_seeds_own_request_to_leonardo_is_taken(world: World) -> None:
    native = telling(DONE)
    seed = {"prompt": "a fox", "model": "MOTION_2_0", "width": 832, "height": 480}
    extra = {"frameInterpolation": True, "promptEnhance": True}
    assert (await ask(world, native, "POST", LEONARDO, seed | extra)).status == 200
    assert native.asked[0][1]["options"] == {"resolution": "480p", "aspect_ratio": "16:9"}


async def test_a_film_that_takes_longer_is_named_and_goes_on(world: World) -> None:
    answer = await ask(world, telling({}), "POST", AVATAR, SAID)
    assert (answer.status, answer.json["error"]["code"]) == (504, "HTTP_504")
    assert f"video_{TASK_ID.hex}" in answer.json["error"]["message"]


async def test_a_film_is_looked_at_again_by_its_id(world: World) -> None:
    native = telling(DONE)
    answer = await ask(world, native, "GET", f"/ai/videos/video_{TASK_ID.hex}")
    assert answer.json["data"]["video_url"] == URL
    assert native.asked == [(f"GET /api/v2/generation/tasks/task_{TASK_ID.hex}", None)]


async def test_a_task_of_another_kind_is_no_film(world: World) -> None:
    native = telling({"task_type": "image"})
    answer = await ask(world, native, "GET", f"/ai/videos/video_{TASK_ID.hex}")
    assert (answer.status, answer.json["error"]["code"]) == (404, "HTTP_404")


REFUSALS: dict[str, tuple[Native, int, str, str]] = {
    "no credits": (
        refusing(402, "insufficient_credits"),
        *(400, "INSUFFICIENT_CREDITS", "InsufficientCreditsError"),
    ),
    "no key of the vendor": (
        refusing(503, "provider_not_configured"),
        *(400, "PROVIDER_NOT_CONFIGURED", "APIKeyMissingError"),
    ),
    "a prompt against the rules": (
        refusing(422, "prompt_rejected"),
        *(422, "HTTP_422", "HTTPException"),
    ),
    "a vendor that failed": (
        telling({"status": "failed", "error": {"code": "provider_failed", "message": "No."}}),
        *(502, "HTTP_502", "HTTPException"),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_has_the_seeds_form(world: World, case: str) -> None:
    native, status, code, kind = REFUSALS[case]
    answer = await ask(world, native, "POST", AVATAR, SAID)
    assert (answer.status, answer.json["success"]) == (status, False)
    assert (answer.json["error"]["code"], answer.json["error"]["type"]) == (code, kind)


async def test_names_the_field_that_the_client_sent(world: World) -> None:
    native = refusing(422, "invalid_option", "options.emotion")
    answer = await ask(world, native, "POST", AVATAR, SAID)
    assert answer.json["error"]["message"] == "emotion: not so."
    native = refusing(422, "invalid_request", "prompt")
    answer = await ask(world, native, "POST", AVATAR, SAID)
    assert answer.json["error"]["message"] == "text: not so."


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "  "},
        {"text": "x" * 1_001},
        {"dimension": "4:3"},
        {"quality": "best"},
        {"avatar_id": ""},
        {"colour": "red"},
    ],
)
async def test_refuses_what_the_seed_does_not_take(world: World, wrong: dict[str, Any]) -> None:
    native = telling(DONE)
    answer = await ask(world, native, "POST", AVATAR, SAID | wrong)
    assert (answer.status, native.asked) == (422, [])
    assert next(iter(wrong)) in answer.json["error"]["message"]


async def test_lists_avatars_and_voices_as_the_seed_shows_them(world: World) -> None:
    avatar = {"avatar_id": "Abigail", "name": "Abigail (Upper Body)", "gender": "female"}
    previews = {"preview_image_url": "https://a", "preview_video_url": None, "premium": False}
    voice = {"voice_id": "v", "name": "V", "language": "English", "gender": None}
    native = Native(
        avatars=(200, {"avatars": [avatar | previews]}),
        voices=(200, {"voices": [voice | {"preview_url": "https://b"}]}),
    )
    answer = await ask(world, native, "GET", "/ai/heygen/avatars")
    shown = {"avatar_id": "Abigail", "avatar_name": "Abigail (Upper Body)", "gender": "female"}
    assert answer.json == {
        "success": True,
        "message": "Avatars retrieved successfully",
        "data": {"avatars": [shown | previews], "total_avatars": 1},
    }
    answer = await ask(world, native, "GET", "/ai/heygen/voices")
    assert answer.json["data"]["voices"] == [voice | {"preview_audio": "https://b"}]
