"""Leonardo: what an order says, how a picture gets there, and how a lost job is found."""

import json
from dataclasses import replace
from typing import Any

import pytest

from services.generation.adapters.leonardo import SEED_RANGE, LeonardoProvider
from services.generation.adapters.providers import (
    Accepted,
    Fault,
    Job,
    Refused,
    Running,
    Succeeded,
)
from tests.generation.played_vendors import KEY, PICTURE, Scripted

JOB = Job("MOTION2", "A fox", 832, 480, {"negative_prompt": "rain"}, "video", 5.0, key="0197")
ACCEPTED = {"motionVideoGenerationJob": {"generationId": "g-1", "apiCreditCost": 100}}
ME = {"user_details": [{"user": {"id": "u-1", "username": "me"}}]}


def place(url: str = "https://bucket.s3-accelerate.amazonaws.com/", **more: Any) -> dict[str, Any]:
    fields = json.dumps({"key": "k", "policy": "p"})
    return {"uploadInitImage": {"id": "i-1", "url": url, "fields": fields, "key": "k", **more}}


async def test_orders_a_film_in_the_vendors_sizes_with_a_seed_of_the_jobs_own() -> None:
    vendor = Scripted()
    vendor.say(ACCEPTED)
    provider = vendor.provider("leonardo")
    assert await provider.submit(JOB) == Accepted("g-1")
    await provider.submit(replace(JOB, key="0198"))
    first, other = (json.loads(request.content) for request in vendor.heard)
    assert vendor.heard[0].url.path == "/api/rest/v1/generations-text-to-video"
    assert vendor.heard[0].headers["authorization"] == f"Bearer {KEY}"
    assert 0 <= first["seed"] < SEED_RANGE
    assert first["seed"] != other["seed"]
    assert first == {
        "prompt": "A fox",
        "model": "MOTION2",
        "resolution": "RESOLUTION_480",
        "width": 832,
        "height": 480,
        "seed": first["seed"],
        "isPublic": False,
        "negativePrompt": "rain",
    }


@pytest.mark.parametrize("base_url", ["https://l.test", "https://l.test/api/rest/v1/"])
def test_takes_its_address_with_and_without_the_version(base_url: str) -> None:
    assert LeonardoProvider(base_url, KEY)._base_url == "https://l.test"


async def test_puts_a_picture_where_it_is_told_and_shows_no_key_there() -> None:
    vendor = Scripted()
    for answer in (place(), {}, ACCEPTED):
        vendor.say(answer)
    job = replace(JOB, input_image=PICTURE)
    assert await vendor.provider("leonardo").submit(job) == Accepted("g-1")
    asked, put, ordered = vendor.heard
    assert json.loads(asked.content) == {"extension": "png"}
    assert put.url.host == "bucket.s3-accelerate.amazonaws.com"
    assert KEY not in str(put.headers)
    assert PICTURE.content in put.content
    assert put.content.index(b'name="policy"') < put.content.index(b'name="file"')
    assert ordered.url.path == "/api/rest/v1/generations-image-to-video"
    order = json.loads(ordered.content)
    assert (order["imageId"], order["imageType"]) == ("i-1", "UPLOADED")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://bucket.s3.amazonaws.com/",
        "https://amazonaws.com.evil.test/",
        "https://[",
        "",
    ],
)
async def test_puts_nothing_where_a_stranger_might_lead_it(url: str) -> None:
    vendor = Scripted()
    vendor.say(place(url))
    answer = await vendor.provider("leonardo").submit(replace(JOB, input_image=PICTURE))
    assert isinstance(answer, Refused)
    assert answer.fault == Fault.UNAVAILABLE
    assert len(vendor.heard) == 1


@pytest.mark.parametrize(
    ("status", "code", "words", "fault"),
    [
        (200, "access-denied", "hook unauthorized this request", Fault.AUTH),
        (200, "validation-failed", "prompt is required", Fault.INVALID),
        (200, "unexpected", "not enough api credits", Fault.CREDITS),
        (500, "unexpected", "Too many pending generations", Fault.RATE_LIMITED),
        (400, "unexpected", "Content moderation filter", Fault.MODERATED),
        (200, "unexpected", "internal", Fault.UNKNOWN),
        (500, "unexpected", "internal", Fault.UNKNOWN),
        (402, "unexpected", "", Fault.CREDITS),
        (429, "unexpected", "", Fault.RATE_LIMITED),
    ],
)
async def test_reads_a_refusal_from_the_body_whatever_http_says(
    status: int, code: str, words: str, fault: Fault
) -> None:
    vendor = Scripted()
    vendor.say({"error": words, "path": "$", "code": code}, status)
    answer = await vendor.provider("leonardo").submit(JOB)
    assert isinstance(answer, Refused)
    assert (answer.fault, answer.message) == (fault, words)


@pytest.mark.parametrize(
    ("generation", "look"),
    [
        ({"status": "PENDING"}, Running(0)),
        (
            {
                "status": "COMPLETE",
                "generated_images": [
                    {"url": "https://cdn.test/p.jpg", "motionMP4URL": "https://cdn.test/f.mp4"}
                ],
            },
            Succeeded(("https://cdn.test/f.mp4",)),
        ),
        (
            {"status": "COMPLETE", "generated_images": []},
            Refused(Fault.FAILED, "The provider named no result."),
        ),
        ({"status": "FAILED"}, Refused(Fault.FAILED, "")),
        (
            {"status": "FAILED", "prompt_moderations": [{"moderationClassification": ["NSFW"]}]},
            Refused(Fault.MODERATED, ""),
        ),
        (
            {"status": "FAILED", "failedReason": "PROMPT_MODERATION_BLOCKED"},
            Refused(Fault.MODERATED, "PROMPT_MODERATION_BLOCKED"),
        ),
        (None, Refused(Fault.LOST, "The provider does not know the generation.")),
    ],
)
async def test_reads_how_a_generation_is(generation: Any, look: object) -> None:
    vendor = Scripted()
    vendor.say({"generations_by_pk": generation})
    assert await vendor.provider("leonardo").look("g-1") == look


async def test_finds_a_lost_job_by_its_seed_or_says_that_it_is_not_there() -> None:
    vendor = Scripted()
    vendor.say(ACCEPTED)
    await vendor.provider("leonardo").submit(JOB)
    seed = json.loads(vendor.heard[0].content)["seed"]
    for seeds, found in (
        ([seed + 1, seed], Accepted("g-1")),
        ([seed + 1], Refused(Fault.LOST, "The provider has no such generation.")),
        ([seed + 1] * 50, None),
    ):
        listing = Scripted()
        listing.say(ME)
        listing.say({"generations": [{"id": f"g-{n}", "seed": one} for n, one in enumerate(seeds)]})
        assert await listing.provider("leonardo").find(JOB) == found
        assert listing.heard[1].url.path == "/api/rest/v1/generations/user/u-1"


async def test_a_seed_of_the_users_own_may_be_another_jobs() -> None:
    vendor = Scripted()
    vendor.say(ME)
    vendor.say({"generations": [{"id": "g-1", "seed": 7}]})
    job = replace(JOB, options={"seed": 7})
    assert await vendor.provider("leonardo").find(job) is None


async def test_cancels_by_deleting_only_what_has_not_ended() -> None:
    vendor = Scripted()
    vendor.say({"generations_by_pk": {"status": "PENDING"}})
    vendor.say({"delete_generations_by_pk": {"id": "g-1"}})
    assert await vendor.provider("leonardo").cancel("g-1")
    assert [request.method for request in vendor.heard] == ["GET", "DELETE"]
    ended = Scripted()
    ended.say({"generations_by_pk": {"status": "COMPLETE"}})
    assert not await ended.provider("leonardo").cancel("g-1")
    assert len(ended.heard) == 1
