"""HeyGen's v3 and v2: what an order says, and what is read from an answer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from services.generation.adapters.providers import (
    Accepted,
    Avatar,
    Fault,
    Job,
    Refused,
    Running,
    Succeeded,
    Voice,
)
from tests.generation.played_vendors import KEY, Scripted

JOB = Job(
    "avatar",
    "Hello!",
    *(None, None),
    {
        "avatar_id": "look-1",
        "voice_id": "voice-1",
        "dimension": "9:16",
        "quality": "high",
        "caption": True,
        "speed": 1.2,
        "emotion": "friendly",
    },
    "avatar",
    key="0197",
)
PLAIN = replace(JOB, options={"avatar_id": "look-1", "voice_id": "voice-1"})


def sent(vendor: Scripted, at: int = 0) -> Any:
    return json.loads(vendor.heard[at].content)


async def test_orders_from_v3_under_the_jobs_own_key() -> None:
    vendor = Scripted()
    vendor.say({"data": {"video_id": "v-1", "status": "waiting"}})
    assert await vendor.provider("heygen").submit(JOB) == Accepted("v-1")
    [request] = vendor.heard
    assert (request.method, request.url.path) == ("POST", "/v3/videos")
    assert request.headers["x-api-key"] == KEY
    assert request.headers["idempotency-key"] == "0197"
    assert sent(vendor) == {
        "type": "avatar",
        "avatar_id": "look-1",
        "voice_id": "voice-1",
        "script": "Hello!",
        "resolution": "1080p",
        "aspect_ratio": "9:16",
        "caption": True,
        "voice_settings": {"speed": 1.2, "emotion": "Friendly"},
    }


@pytest.mark.parametrize(
    ("quality", "resolution"), [("low", "720p"), ("medium", "720p"), ("high", "1080p")]
)
async def test_v3_takes_its_smallest_for_low(quality: str, resolution: str) -> None:
    vendor = Scripted()
    vendor.say({"data": {"video_id": "v-1"}})
    await vendor.provider("heygen").submit(
        replace(PLAIN, options={**PLAIN.options, "quality": quality})
    )
    assert sent(vendor)["resolution"] == resolution


async def test_v3_is_told_nothing_that_was_not_asked() -> None:
    vendor = Scripted()
    vendor.say({"data": {"video_id": "v-1"}})
    await vendor.provider("heygen").submit(PLAIN)
    told = sent(vendor)
    assert (told["voice_settings"], told["caption"]) == ({}, False)
    assert (told["resolution"], told["aspect_ratio"]) == ("720p", "16:9")


@pytest.mark.parametrize(
    ("quality", "size"), [("low", (480, 854)), ("medium", (720, 1_280)), ("high", (1_080, 1_920))]
)
async def test_orders_from_v2_in_pixels(quality: str, size: tuple[int, int]) -> None:
    vendor = Scripted()
    vendor.say({"error": None, "data": {"video_id": "v-1"}})
    job = replace(JOB, options={**JOB.options, "quality": quality})
    assert await vendor.provider("heygen_v2").submit(job) == Accepted("v-1")
    assert vendor.heard[0].url.path == "/v2/video/generate"
    [scene] = sent(vendor)["video_inputs"]
    assert scene["character"]["avatar_id"] == "look-1"
    assert scene["voice"] == {
        "type": "text",
        "input_text": "Hello!",
        "voice_id": "voice-1",
        "speed": 1.2,
        "emotion": "Friendly",
    }
    assert tuple(sent(vendor)["dimension"].values()) == size


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ({"captioned_video_url": "https://cdn.test/c.mp4"}, "https://cdn.test/c.mp4"),
        ({"captioned_video_url": None}, "https://cdn.test/v.mp4"),
    ],
)
async def test_takes_the_film_with_captions_where_there_is_one(
    told: dict[str, Any], url: str
) -> None:
    vendor = Scripted()
    vendor.say({"data": {"status": "completed", "video_url": "https://cdn.test/v.mp4", **told}})
    assert await vendor.provider("heygen").look("v/1") == Succeeded((url,))
    assert vendor.heard[0].url.raw_path == b"/v3/videos/v%2F1"


@pytest.mark.parametrize("status", ["pending", "waiting", "processing", "a new one", None])
async def test_a_film_that_has_not_ended_is_running(status: str | None) -> None:
    vendor = Scripted()
    vendor.say({"data": {"status": status}})
    assert await vendor.provider("heygen").look("v-1") == Running(0)
    assert await vendor.provider("heygen_v2").look("v-1") == Running(0)


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (401, "unauthorized", Fault.AUTH),
        (402, "insufficient_credit", Fault.CREDITS),
        (400, "validation_error", Fault.INVALID),
        (404, "not_found", Fault.INVALID),
        (409, "request_in_progress", Fault.UNKNOWN),
        (409, "conflict", Fault.FAILED),
        (400, "moderation_policy_violation", Fault.MODERATED),
        (429, "a new one", Fault.RATE_LIMITED),
        (502, "a new one", Fault.UNKNOWN),
        (200, "validation_error", Fault.INVALID),
    ],
)
async def test_each_refusal_of_an_order_has_its_fault(status: int, code: str, fault: Fault) -> None:
    vendor = Scripted()
    vendor.say({"error": {"code": code, "message": "No."}}, status, Retry_After="7")
    answer = await vendor.provider("heygen").submit(PLAIN)
    assert isinstance(answer, Refused)
    assert answer.fault == fault
    assert answer.retry_after_s == (7.0 if fault == Fault.RATE_LIMITED else None)


async def test_reads_the_lists_to_their_last_page() -> None:
    vendor = Scripted()
    voice = {"voice_id": "a", "name": "Ada", "language": "English", "gender": "female"}
    vendor.say({"data": [voice, {"name": "nobody"}, 7], "has_more": True, "next_token": "t 2"})
    vendor.say({"data": [{"voice_id": "b"}], "has_more": False, "next_token": None})
    assert await vendor.provider("heygen").voices() == (
        Voice("a", "Ada", "English", "female", None),
        Voice("b", "b", "", "", None),
    )
    assert [request.url.query for request in vendor.heard] == [
        b"limit=100",
        b"limit=100&token=t+2",
    ]


async def test_a_list_without_end_is_left_somewhere() -> None:
    vendor = Scripted()
    vendor.say({"data": [{"id": "a"}], "has_more": True, "next_token": "again"})
    avatars = await vendor.provider("heygen").avatars()
    assert avatars[0] == Avatar("a", "a", "", None, None, None)
    assert len(vendor.heard) == 50


async def test_a_list_that_is_refused_is_none() -> None:
    vendor = Scripted()
    vendor.say({"error": {"code": "unauthorized", "message": "No."}}, 401)
    assert await vendor.provider("heygen").voices() == Refused(Fault.AUTH, "No.")
