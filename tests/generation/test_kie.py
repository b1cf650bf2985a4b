"""kie.ai's protocol against a vendor on loopback that says exactly what the test scripts."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.generation.adapters import kie
from services.generation.adapters.asking import MESSAGE_LENGTH_MAX
from services.generation.adapters.kie import KieProvider
from services.generation.adapters.providers import (
    Accepted,
    Fault,
    Job,
    Refused,
    Running,
    Succeeded,
)
from tests.generation.played_vendors import PICTURE, Scripted
from tests.generation.scripted_vendor import Vendor, listening

KEY = "vendor-key"
JOB = Job("nano-banana-pro", "A harbour", 1_024, 576, {})


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with listening() as vendor:
        yield vendor


@pytest.fixture
async def provider(vendor: Vendor) -> AsyncIterator[KieProvider]:
    provider = KieProvider(f"{vendor.address}/api/v1", KEY)
    yield provider
    await provider.aclose()


def record(state: str, **data: Any) -> dict[str, Any]:
    return {"code": 200, "msg": "success", "data": {"taskId": "job-1", "state": state, **data}}


def result(value: object) -> dict[str, Any]:
    return record("success", resultJson=json.dumps(value))


def fault_of(answer: object) -> Fault:
    assert isinstance(answer, Refused), answer
    return answer.fault


async def test_submits_a_job_with_the_key_and_the_vendors_words_for_its_size(
    vendor: Vendor, provider: KieProvider
) -> None:
    vendor.say({"code": 200, "msg": "success", "data": {"taskId": "job-1"}})
    job = Job("nano-banana-pro", "A harbour", 1_024, 576, {"seed": 7, "quality": "hd"})
    assert await provider.submit(job) == Accepted("job-1")
    [(line, headers, body)] = vendor.heard
    assert line == "POST /api/v1/jobs/createTask HTTP/1.1"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(body) == {
        "model": "nano-banana-pro",
        "input": {
            "prompt": "A harbour",
            "aspect_ratio": "16:9",
            "resolution": "1K",
            "output_format": "png",
            "seed": 7,
        },
    }


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (512, 512, "1K"),
        (576, 1_024, "1K"),
        (1_025, 512, "2K"),
        (2_048, 1_152, "2K"),
        (2_049, 900, "4K"),
    ],
)
async def test_asks_for_the_smallest_class_that_holds_the_long_side(
    vendor: Vendor, provider: KieProvider, width: int, height: int, size: str
) -> None:
    vendor.say({"code": 200, "data": {"taskId": "job-1"}})
    await provider.submit(Job("flux-2/pro-text-to-image", "A harbour", width, height, {}))
    assert json.loads(vendor.heard[0][2])["input"]["resolution"] == size


@pytest.mark.parametrize(
    ("code", "words", "fault"),
    [
        (400, "bad", Fault.INVALID),
        (401, "no access", Fault.AUTH),
        (402, "top up", Fault.CREDITS),
        (422, "prompt is required", Fault.INVALID),
        (422, "Flagged by content moderation", Fault.MODERATED),
        (400, "Violates our usage Policy", Fault.MODERATED),
        (429, "too often", Fault.RATE_LIMITED),
        (433, "sub-key limit", Fault.RATE_LIMITED),
        (455, "maintenance", Fault.UNAVAILABLE),
        (505, "feature off", Fault.UNAVAILABLE),
        (501, "generation failed", Fault.FAILED),
        (500, "server error", Fault.UNKNOWN),
        (777, "never heard of", Fault.UNKNOWN),
    ],
)
async def test_reads_the_truth_from_the_bodys_code_not_from_http(
    vendor: Vendor, provider: KieProvider, code: int, words: str, fault: Fault
) -> None:
    vendor.say({"code": code, "msg": words, "data": None})
    answer = await provider.submit(JOB)
    assert fault_of(answer) == fault
    assert isinstance(answer, Refused)
    assert answer.message == words


async def test_waits_a_whole_window_after_a_rate_limit(
    vendor: Vendor, provider: KieProvider
) -> None:
    vendor.say_text(b"Too Many Requests", status=429)
    assert await provider.submit(JOB) == Refused(Fault.RATE_LIMITED, "", kie.RATE_WINDOW_S)


UNREADABLE = {
    "no JSON": b"<html>Bad gateway</html>",
    "nothing": b"",
    "no UTF-8": b"\xff\xfe{",
    "a list": b"[]",
    "a word": b'"ok"',
    "no code": b'{"data": {"taskId": "job-1"}}',
    "an endless code": b'{"code": Infinity}',
    "a code that is no number": b'{"code": "fine", "data": {}}',
    "no data": b'{"code": 200, "data": null}',
    "an endless nest": b"[" * 100_000,
    "too much": b'{"code": 200, "data": {"taskId": "job-1", "x": "' + b"x" * 1_000_000 + b'"}}',
    "no job id": b'{"code": 200, "data": {}}',
    "an empty job id": b'{"code": 200, "data": {"taskId": ""}}',
    "a job id that is a number": b'{"code": 200, "data": {"taskId": 7}}',
    "a job id that can't be kept": b'{"code": 200, "data": {"taskId": "a\\u0000"}}',
    "a job id without end": b'{"code": 200, "data": {"taskId": "' + b"x" * 201 + b'"}}',
}


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_counts_a_submit_as_unknown_when_its_answer_is(
    vendor: Vendor, provider: KieProvider, answer: str
) -> None:
    vendor.say_text(UNREADABLE[answer])
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN


@pytest.mark.parametrize("answer", list(UNREADABLE)[:11])
async def test_only_looks_again_when_the_answer_to_a_look_is(
    vendor: Vendor, provider: KieProvider, answer: str
) -> None:
    vendor.say_text(UNREADABLE[answer])
    assert fault_of(await provider.look("job-1")) == Fault.UNAVAILABLE


async def test_counts_a_submit_whose_answer_was_lost_as_unknown(
    vendor: Vendor, provider: KieProvider
) -> None:
    vendor.hang_up()
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN
    assert len(vendor.heard) == 1


async def test_counts_half_an_answer_as_unknown(vendor: Vendor, provider: KieProvider) -> None:
    vendor.script.append(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN


async def test_a_vendor_that_dribbles_its_answer_is_cut_off(
    vendor: Vendor,
) -> None:
    provider = KieProvider(vendor.address, KEY, answer_timeout_s=0.2)
    vendor.dribbles = True
    vendor.script = [b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"] * 2
    assert fault_of(await provider.submit(JOB)) == Fault.UNKNOWN
    assert fault_of(await provider.look("job-1")) == Fault.UNAVAILABLE
    await provider.aclose()


async def test_a_vendor_that_can_not_be_reached_has_surely_taken_nothing() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    provider = KieProvider(f"http://127.0.0.1:{port}", KEY)
    assert fault_of(await provider.submit(JOB)) == Fault.UNAVAILABLE
    assert fault_of(await provider.look("job-1")) == Fault.UNAVAILABLE
    await provider.aclose()


async def test_looks_at_the_job_by_its_id(vendor: Vendor, provider: KieProvider) -> None:
    vendor.say(record("generating", progress=40))
    assert await provider.look("job 1&x=2") == Running(40)
    assert vendor.heard[0][0] == "GET /api/v1/jobs/recordInfo?taskId=job+1%26x%3D2 HTTP/1.1"


@pytest.mark.parametrize("state", ["waiting", "queuing", "generating", "a new state", None])
async def test_a_job_that_has_not_ended_is_running(
    vendor: Vendor, provider: KieProvider, state: str | None
) -> None:
    vendor.say({"code": 200, "data": {"state": state}})
    assert await provider.look("job-1") == Running(0)


@pytest.mark.parametrize(
    ("told", "progress"),
    [("0", 0), ("12.7", 12), ("99", 99), ("-5", 0), ('"50"', 0), ("NaN", 0), ("Infinity", 0)],
)
async def test_believes_only_a_progress_that_can_be(
    vendor: Vendor, provider: KieProvider, told: str, progress: int
) -> None:
    text = f'{{"code": 200, "data": {{"state": "generating", "progress": {told}}}}}'
    vendor.say_text(text.encode())
    assert await provider.look("job-1") == Running(progress)


async def test_finds_the_result_inside_the_string(vendor: Vendor, provider: KieProvider) -> None:
    vendor.say(result({"resultUrls": ["https://cdn.test/a.png", "https://cdn.test/b.png"]}))
    urls = ("https://cdn.test/a.png", "https://cdn.test/b.png")
    assert await provider.look("job-1") == Succeeded(urls)


@pytest.mark.parametrize(
    "result_json",
    [
        None,
        7,
        "",
        "not JSON",
        "[" * 100_000,
        "[]",
        "{}",
        '{"resultUrls": null}',
        '{"resultUrls": "https://cdn.test/a.png"}',
        '{"resultUrls": {"0": "https://cdn.test/a.png"}}',
        '{"resultUrls": [null]}',
        '{"resultUrls": [""]}',
        '{"resultUrls": ["https://cdn.test/\\u0000"]}',
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_success_without_a_readable_result_is_a_failure(
    vendor: Vendor, provider: KieProvider, result_json: object
) -> None:
    vendor.say(record("success", resultJson=result_json))
    assert fault_of(await provider.look("job-1")) == Fault.FAILED


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("Internal model error", Fault.FAILED),
        (None, Fault.FAILED),
        ("Output was flagged as NSFW", Fault.MODERATED),
        ("Blocked by our safety system", Fault.MODERATED),
    ],
)
async def test_tells_what_was_withheld_from_what_failed(
    vendor: Vendor, provider: KieProvider, words: str | None, fault: Fault
) -> None:
    vendor.say(record("fail", failCode="500", failMsg=words))
    assert fault_of(await provider.look("job-1")) == fault


async def test_keeps_a_vendors_words_short_and_such_that_they_can_be_kept(
    vendor: Vendor, provider: KieProvider
) -> None:
    vendor.say(record("fail", failMsg="bro\x00ken\ud800" + "x" * 1_000))
    answer = await provider.look("job-1")
    assert isinstance(answer, Refused)
    assert answer.message.startswith("brokenxxx")
    assert len(answer.message) <= MESSAGE_LENGTH_MAX


async def test_a_job_that_the_vendor_does_not_know_is_lost(
    vendor: Vendor, provider: KieProvider
) -> None:
    vendor.say({"code": 404, "msg": "The task does not exist"})
    assert fault_of(await provider.look("job-1")) == Fault.LOST


async def test_a_connection_that_is_lost_during_a_look_is_a_reason_to_look_again(
    vendor: Vendor, provider: KieProvider
) -> None:
    vendor.hang_up()
    assert fault_of(await provider.look("job-1")) == Fault.UNAVAILABLE


@pytest.mark.parametrize(
    ("job", "given"),
    [
        (
            Job("wan/2-6-text-to-video", "A bay", 1_920, 1_080, {"seed": 7}, "video", 15.0),
            {"prompt": "A bay", "aspect_ratio": "16:9", "resolution": "1080p", "duration": "15"},
        ),
        (
            Job(
                "elevenlabs/text-to-speech-multilingual-v2",
                *("Hello!", None, None),
                {"voice_id": "v", "speed": 0.9, "language": "de", "format": "mp3"},
                "audio",
            ),
            {"text": "Hello!", "voice": "v", "speed": 0.9, "language_code": "de"},
        ),
    ],
)
async def test_tells_each_kind_of_model_what_it_takes(job: Job, given: dict[str, Any]) -> None:
    vendor = Scripted()
    vendor.say({"code": 200, "data": {"taskId": "job-1"}})
    assert await vendor.provider("kie").submit(job) == Accepted("job-1")
    seed = {"seed": 7} if "seed" in job.options else {}
    assert json.loads(vendor.heard[0].content)["input"] == {**given, **seed}


async def test_uploads_a_picture_first_and_tells_its_address() -> None:
    vendor = Scripted()
    vendor.say({"success": True, "code": 200, "data": {"downloadUrl": "https://cdn.test/i.png"}})
    vendor.say({"code": 200, "data": {"taskId": "job-1"}})
    film = Job("wan/2-6-image-to-video", "A bay", 720, 1_280, {}, "video", 5.0, input_image=PICTURE)
    assert await vendor.provider("kie").submit(film) == Accepted("job-1")
    upload, order = vendor.heard
    assert str(upload.url) == "https://vendor.test/api/file-stream-upload"
    assert b'name="uploadPath"' in upload.content
    assert PICTURE.content in upload.content
    assert json.loads(order.content)["input"]["image_urls"] == ["https://cdn.test/i.png"]


async def test_kie_itself_takes_files_at_another_host() -> None:
    vendor = Scripted()
    vendor.say({"code": 401, "msg": "no"})
    client = vendor.provider("kie")._client
    job = Job("nano-banana-pro", "A bay", 512, 512, {}, input_image=PICTURE)
    for base_url in ("https://api.kie.ai", "https://kie.ai/api/v1"):
        answer = await KieProvider(base_url, KEY, client=client).submit(job)
        assert fault_of(answer) == Fault.AUTH
    assert {request.url.host for request in vendor.heard} == {"kieai.redpandaai.co"}


async def test_an_upload_whose_answer_was_lost_has_ordered_nothing() -> None:
    vendor = Scripted()
    vendor.say({"code": 500, "msg": "no"})
    job = Job("nano-banana-pro", "A bay", 512, 512, {}, input_image=PICTURE)
    assert fault_of(await vendor.provider("kie").submit(job)) == Fault.UNAVAILABLE
