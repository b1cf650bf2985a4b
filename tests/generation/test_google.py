"""Google's generateContent against a vendor on loopback that says exactly what the test scripts."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.generation.adapters import google
from services.generation.adapters.google import GoogleProvider
from services.generation.adapters.providers import Fault, Job, Made, Refused
from tests.generation.played_vendors import PICTURE as PICTURE_SENT
from tests.generation.played_vendors import Scripted
from tests.generation.scripted_vendor import Vendor, listening

KEY = "vendor-key"
JOB = Job("gemini-3.1-flash-image", "A harbour", 1_024, 576, {})
PICTURE = b"\xff\xd8 a picture"


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with listening() as vendor:
        yield vendor


@pytest.fixture
async def provider(vendor: Vendor) -> AsyncIterator[GoogleProvider]:
    provider = GoogleProvider(vendor.address, KEY)
    yield provider
    await provider.aclose()


def inline(content: bytes = PICTURE, **more: Any) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"inlineData": {"mimeType": "image/jpeg", "data": data}, **more}


def candidate(*parts: dict[str, Any], reason: str = "STOP") -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": reason}]}


def error(code: int, status: str, message: str = "No.", *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def fault_of(answer: object) -> Fault:
    assert isinstance(answer, Refused), answer
    return answer.fault


async def test_asks_with_the_key_in_the_vendors_words_for_shape_and_size(
    vendor: Vendor, provider: GoogleProvider
) -> None:
    vendor.say(candidate(inline()))
    options = {"seed": 2**31 + 7, "negative_prompt": "boats"}
    assert await provider.submit(Job(JOB.model, "A harbour", 1_920, 1_080, options)) == Made(
        PICTURE
    )
    [(line, headers, body)] = vendor.heard
    assert line == "POST /v1beta/models/gemini-3.1-flash-image:generateContent HTTP/1.1"
    assert headers["x-goog-api-key"] == KEY
    assert json.loads(body) == {
        "contents": [{"role": "user", "parts": [{"text": "A harbour\n\nWithout: boats"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
            "seed": 7,
        },
    }


@pytest.mark.parametrize(
    ("long_side", "name"), [(256, "1K"), (1_024, "1K"), (1_025, "2K"), (4_096, "4K")]
)
async def test_asks_for_the_smallest_size_that_is_large_enough(
    vendor: Vendor, provider: GoogleProvider, long_side: int, name: str
) -> None:
    vendor.say(candidate(inline()))
    await provider.submit(Job(JOB.model, "A harbour", long_side, long_side, {}))
    sent = json.loads(vendor.heard[0][2])
    assert sent["generationConfig"]["imageConfig"] == {"aspectRatio": "1:1", "imageSize": name}


async def test_words_and_thoughts_beside_a_picture_are_not_it(
    vendor: Vendor, provider: GoogleProvider
) -> None:
    draft = inline(b"a draft", thought=True)
    vendor.say(candidate({"text": "Here."}, draft, inline()))
    assert await provider.submit(JOB) == Made(PICTURE)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, Fault.MODERATED),
        (candidate(reason="IMAGE_SAFETY"), Fault.MODERATED),
        (candidate(reason="IMAGE_RECITATION"), Fault.MODERATED),
        (candidate({"text": "I can't."}, reason="NO_IMAGE"), Fault.FAILED),
        (candidate({"text": "I can't."}), Fault.FAILED),
        ({}, Fault.FAILED),
        ([], Fault.UNKNOWN),
        ({"candidates": [1]}, Fault.UNKNOWN),
        (candidate({"inlineData": {"data": "not base64!"}}), Fault.UNKNOWN),
        (candidate({"inlineData": {}}), Fault.UNKNOWN),
    ],
)
async def test_says_why_there_is_no_picture(
    vendor: Vendor, provider: GoogleProvider, answer: Any, fault: Fault
) -> None:
    vendor.say(answer)
    assert fault_of(await provider.submit(JOB)) == fault


@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (400, error(400, "INVALID_ARGUMENT"), Fault.INVALID),
        (400, error(400, "INVALID_ARGUMENT", "API key not valid."), Fault.AUTH),
        (403, error(403, "PERMISSION_DENIED"), Fault.AUTH),
        (404, error(404, "NOT_FOUND"), Fault.FAILED),
        (429, error(429, "RESOURCE_EXHAUSTED"), Fault.RATE_LIMITED),
        (500, error(500, "INTERNAL"), Fault.UNAVAILABLE),
        (503, "busy", Fault.UNAVAILABLE),
        (502, "bad gateway", Fault.UNKNOWN),
        (504, error(504, "DEADLINE_EXCEEDED"), Fault.UNKNOWN),
        (302, "", Fault.UNKNOWN),
    ],
)
async def test_each_refusal_has_its_fault(
    vendor: Vendor, provider: GoogleProvider, status: int, answer: Any, fault: Fault
) -> None:
    vendor.say(answer, status)
    assert fault_of(await provider.submit(JOB)) == fault


@pytest.mark.parametrize(
    ("delay", "wait_s"),
    [("55s", 55.0), ("1.5s", 1.5), ("99999s", 600.0), ("soon", 10.0), (7, 10.0)],
)
async def test_waits_as_long_as_the_vendor_asks_within_reason(
    vendor: Vendor, provider: GoogleProvider, delay: Any, wait_s: float
) -> None:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    detail = {"@type": kind, "retryDelay": delay}
    vendor.say(error(429, "RESOURCE_EXHAUSTED", "Slowly.", "odd", detail), 429)
    assert await provider.submit(JOB) == Refused(Fault.RATE_LIMITED, "Slowly.", wait_s)


async def test_an_answer_that_is_lost_is_unknown(vendor: Vendor, provider: GoogleProvider) -> None:
    vendor.hang_up()
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN


async def test_a_vendor_that_is_not_there_took_nothing() -> None:
    provider = GoogleProvider("http://127.0.0.1:9", KEY)
    assert fault_of(await provider.submit(JOB)) == Fault.UNAVAILABLE
    await provider.aclose()


async def test_an_answer_without_end_is_cut_off(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, provider: GoogleProvider
) -> None:
    monkeypatch.setattr(google, "ANSWER_BYTES_MAX", 100)
    vendor.say(candidate(inline(b"x" * 1_000)))
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN


async def test_an_answer_that_dribbles_for_ever_is_lost(vendor: Vendor) -> None:
    provider = GoogleProvider(vendor.address, KEY, answer_timeout_s=0.2)
    vendor.dribbles = True
    vendor.script.append(b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n")
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN
    vendor.dribbles = False
    await provider.aclose()


async def test_no_fault_tells_the_key(vendor: Vendor, provider: GoogleProvider) -> None:
    vendor.say(error(400, "INVALID_ARGUMENT", "x" * 1_000), 400)
    answer = await provider.submit(JOB)
    assert isinstance(answer, Refused)
    assert len(answer.message) == 300
    assert KEY not in repr(answer)


async def test_there_is_no_job_to_look_at(provider: GoogleProvider) -> None:
    assert fault_of(await provider.look("")) == Fault.LOST


async def test_sends_a_picture_beside_the_words() -> None:
    vendor = Scripted()
    vendor.say(candidate(inline()))
    job = Job(JOB.model, "A harbour", 512, 512, {}, input_image=PICTURE_SENT)
    assert await vendor.provider("google").submit(job) == Made(PICTURE)
    [content] = json.loads(vendor.heard[0].content)["contents"]
    data = base64.b64encode(PICTURE_SENT.content).decode()
    assert content["parts"] == [
        {"text": "A harbour"},
        {"inlineData": {"mimeType": "image/png", "data": data}},
    ]
