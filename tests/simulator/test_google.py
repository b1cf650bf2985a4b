"""Google's part of the simulator, in its own protocol."""

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.simulator.conftest import Caller, Vendor

MODEL = "gemini-3.1-flash-image"


async def generate(
    caller: Caller,
    prompt: str = "a harbour",
    *,
    key: str = "k",
    model: str = MODEL,
    version: str = "v1beta",
    **config: Any,
) -> httpx.Response:
    body = {
        "contents": [{"role": "user", "parts": [{"text": prompt}]}],
        "generationConfig": {"responseModalities": ["IMAGE"], **config},
    }
    path = f"/google/{version}/models/{model}:generateContent"
    return await caller.http.post(path, json=body, headers={"x-goog-api-key": key})


def picture_in(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    (candidate,) = answer.json()["candidates"]
    (inline,) = (part["inlineData"] for part in candidate["content"]["parts"] if "text" not in part)
    picture = Image.open(io.BytesIO(base64.b64decode(inline["data"])))
    assert inline["mimeType"] == f"image/{str(picture.format).lower()}"
    return picture


async def test_answers_with_the_picture_itself(vendor: Vendor) -> None:
    async with vendor() as caller:
        shape = {"aspectRatio": "16:9", "imageSize": "1K"}
        assert picture_in(await generate(caller, imageConfig=shape)).size == (1376, 768)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_both_versions_of_the_path_answer(canned: Caller, version: str) -> None:
    picture_in(await generate(canned, version=version))


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"key": ""}, 403, "PERMISSION_DENIED"),
        ({"model": "imagen-3.0-generate-002"}, 404, "NOT_FOUND"),
        ({"prompt": " "}, 400, "INVALID_ARGUMENT"),
        ({"seed": 2**31}, 400, "INVALID_ARGUMENT"),
        ({"responseModalities": ["TEXT"]}, 400, "INVALID_ARGUMENT"),
        ({"imageConfig": {"aspectRatio": "5:1"}}, 400, "INVALID_ARGUMENT"),
        ({"imageConfig": {"imageSize": "8K"}}, 400, "INVALID_ARGUMENT"),
        ({"imageConfig": 1}, 400, "INVALID_ARGUMENT"),
        ({"prompt": "[[sim:unauthorized]]"}, 400, "INVALID_ARGUMENT"),
        ({"prompt": "[[sim:no_credits]]"}, 429, "RESOURCE_EXHAUSTED"),
        ({"prompt": "[[sim:server_error]]"}, 500, "INTERNAL"),
    ],
)
async def test_refuses_in_the_vendors_form(
    canned: Caller, changes: dict[str, Any], status: int, word: str
) -> None:
    answer = await generate(canned, **changes)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == word
    assert answer.json()["error"]["code"] == status


async def test_a_body_that_is_no_json_is_refused(canned: Caller) -> None:
    path = f"/google/v1/models/{MODEL}:generateContent"
    answer = await canned.http.post(path, content=b"{", headers={"x-goog-api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_a_withheld_picture_is_a_blocked_prompt(canned: Caller) -> None:
    answer = await generate(canned, "a cat [[sim:moderated]]")
    assert answer.json()["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"


async def test_a_failed_picture_is_a_candidate_without_one(canned: Caller) -> None:
    answer = await generate(canned, "a cat [[sim:fail]]")
    assert answer.json()["candidates"][0]["finishReason"] == "NO_IMAGE"


async def test_says_when_to_ask_again_and_then_answers(canned: Caller) -> None:
    refused = await generate(canned, "a cat [[sim:rate_limited_then_ok]]")
    assert refused.json()["error"]["details"][0]["retryDelay"] == "1s"
    picture_in(await generate(canned, "a cat [[sim:rate_limited_then_ok]]"))


async def test_the_journal_tells_who_asked_for_what(canned: Caller) -> None:
    await generate(canned, "a cat", key="secret")
    (asked,) = await canned.asked()
    assert (asked["vendor"], asked["operation"]) == ("google", "generateContent")
    assert (asked["prompt"], asked["code"]) == ("a cat", 200)
    assert "secret" not in str(asked)
