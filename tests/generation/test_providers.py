"""The port to vendors, the same over all of them: what they take, make, refuse and lose."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.generation.adapters.asking import retry_after_s
from services.generation.adapters.providers import (
    OUTCOME_BY_FAULT,
    TRANSIENT,
    Accepted,
    Avatars,
    Fault,
    Look,
    Made,
    Refused,
    Running,
    Submission,
    Succeeded,
    Voices,
)
from services.generation.app import ADAPTERS as COMPOSED
from services.generation.domain.outcomes import OUTCOMES
from tests.generation.played_vendors import (
    ADAPTERS,
    JOBS,
    KEY,
    PICTURE,
    Played,
    Scripted,
    played,
)

EACH = sorted(ADAPTERS)
AT_ONCE = ["elevenlabs", "google"]
"""Those whose answer is the output."""
LATER = sorted(set(EACH) - set(AT_ONCE))
LOOKS_MAX = 100


@pytest.fixture
async def vendors(tmp_path: Path) -> AsyncIterator[Played]:
    async with played(tmp_path) as vendors:
        yield vendors


def fault_of(answer: object) -> Fault:
    assert isinstance(answer, Refused), answer
    return answer.fault


async def ended(provider: Any, submission: Submission) -> Submission | Look:
    """What came of it: the submission's own refusal, or the end of its job."""
    if not isinstance(submission, Accepted):
        return submission
    for _ in range(LOOKS_MAX):
        look: Look = await provider.look(submission.provider_job_id)
        if not isinstance(look, Running):
            return look
        await asyncio.sleep(0.01)
    raise AssertionError("the job did not end")


async def ordered(vendors: Played, name: str, words: str = "") -> Submission | Look:
    provider = vendors.provider(name)
    job = replace(JOBS[name], prompt=f"A harbour {words}", key=f"job {words}")
    return await ended(provider, await provider.submit(job))


def test_every_vendor_of_the_product_is_among_those_that_are_tested() -> None:
    assert set(COMPOSED.values()) <= set(ADAPTERS.values())


@pytest.mark.parametrize("name", EACH)
async def test_makes_what_is_asked(vendors: Played, name: str) -> None:
    end = await ordered(vendors, name)
    if isinstance(end, Made):
        content = end.content
    else:
        assert isinstance(end, Succeeded)
        content = (await vendors.http.get(end.urls[0])).content
    assert len(content) > 50


@pytest.mark.parametrize("name", ["google", "kie", "kie_film", "leonardo"])
async def test_begins_with_a_picture(vendors: Played, name: str) -> None:
    provider = vendors.provider(name)
    job = replace(JOBS[name], input_image=PICTURE)
    if name == "kie_film":
        job = replace(job, model="wan/2-6-image-to-video")
    assert isinstance(await ended(provider, await provider.submit(job)), Made | Succeeded)


CALLED_BACK = {"kie": "callBackUrl", "heygen": "callback_url", "heygen_v2": "callback_url"}


@pytest.mark.parametrize("name", CALLED_BACK)
async def test_says_where_to_call_back_if_there_is_such_a_place(name: str) -> None:
    scripted = Scripted()
    scripted.say({"code": 200, "data": {"taskId": "1", "video_id": "1"}})
    provider = scripted.provider(name)
    await provider.submit(JOBS[name])
    await provider.submit(replace(JOBS[name], callback_url="https://smartspec.test/here"))
    silent, said = (json.loads(request.content) for request in scripted.heard)
    assert CALLED_BACK[name] not in silent
    assert said[CALLED_BACK[name]] == "https://smartspec.test/here"


SCENARIOS = {
    "unauthorized": Fault.AUTH,
    "no_credits": Fault.CREDITS,
    "rate_limited_then_ok": Fault.RATE_LIMITED,
    "maintenance": Fault.UNAVAILABLE,
    "server_error": Fault.UNKNOWN,
    "connection_reset": Fault.UNKNOWN,
    "malformed_json": Fault.UNKNOWN,
    "answer_lost": Fault.UNKNOWN,
    "moderated": Fault.MODERATED,
    "fail": Fault.FAILED,
}
EXCEPTIONS = {
    ("google", "no_credits"): Fault.RATE_LIMITED,
    ("google", "server_error"): Fault.UNAVAILABLE,
    ("elevenlabs", "server_error"): Fault.UNAVAILABLE,
}
"""Google has one word for both; of an answer that is the output itself, none is billed unmade."""


@pytest.mark.parametrize("name", EACH)
async def test_each_fault_of_a_vendor_is_told_by_its_own_name(vendors: Played, name: str) -> None:
    for scenario, fault in SCENARIOS.items():
        end = await ordered(vendors, name, f"[[sim:{scenario}]]")
        assert (scenario, fault_of(end)) == (scenario, EXCEPTIONS.get((name, scenario), fault))
        assert isinstance(end, Refused)
        assert KEY not in end.message
        assert (end.retry_after_s is not None) >= (end.fault == Fault.RATE_LIMITED)


@pytest.mark.parametrize("name", LATER)
async def test_a_job_that_the_vendor_does_not_know_is_lost(vendors: Played, name: str) -> None:
    assert fault_of(await vendors.provider(name).look("no-such-job")) == Fault.LOST


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("scenario", ["server_error", "connection_reset", "malformed_json"])
async def test_a_look_that_goes_wrong_is_a_reason_to_look_again(
    vendors: Played, name: str, scenario: str
) -> None:
    provider = vendors.provider(name)
    job = replace(JOBS[name], prompt=f"A harbour [[sim:{scenario} on=look]]")
    submission = await provider.submit(job)
    assert isinstance(submission, Accepted)
    assert fault_of(await provider.look(submission.provider_job_id)) == Fault.UNAVAILABLE
    assert isinstance(await ended(provider, submission), Succeeded)


@pytest.mark.parametrize("name", ["heygen", "leonardo"])
async def test_finds_a_job_whose_answer_was_lost_and_orders_no_second(
    vendors: Played, name: str
) -> None:
    provider = vendors.provider(name)
    job = replace(JOBS[name], prompt="A harbour [[sim:answer_lost]]")
    assert fault_of(await provider.submit(job)) == Fault.UNKNOWN
    found = await provider.find(job)
    [order] = await vendors.orders()
    assert isinstance(found, Accepted)
    assert found.provider_job_id.replace("-", "") == order["task_id"]
    assert isinstance(await ended(provider, found), Succeeded)


@pytest.mark.parametrize("name", sorted({*EACH} - {"heygen", "leonardo"}))
async def test_says_when_a_vendor_gives_no_way_to_know(vendors: Played, name: str) -> None:
    assert await vendors.provider(name).find(JOBS[name]) is None
    assert await vendors.orders() == []


@pytest.mark.parametrize("name", LATER)
async def test_stops_a_job_only_where_the_vendor_does(vendors: Played, name: str) -> None:
    provider = vendors.provider(name)
    submission = await provider.submit(replace(JOBS[name], prompt="A harbour [[sim:hang]]"))
    assert isinstance(submission, Accepted)
    stopped = await provider.cancel(submission.provider_job_id)
    assert stopped == (name == "leonardo")
    look = await provider.look(submission.provider_job_id)
    assert isinstance(look, Refused if stopped else Running)
    assert not await provider.cancel("no-such-job")


@pytest.mark.parametrize("name", ["heygen", "heygen_v2", "elevenlabs"])
async def test_lists_who_can_speak(vendors: Played, name: str) -> None:
    provider = vendors.provider(name)
    assert isinstance(provider, Voices)
    voices = await provider.voices()
    assert not isinstance(voices, Refused)
    assert {"female", "male"} <= {voice.gender for voice in voices}
    assert all(voice.voice_id and voice.name and voice.language for voice in voices)


@pytest.mark.parametrize("name", ["heygen", "heygen_v2"])
async def test_lists_who_can_be_seen(vendors: Played, name: str) -> None:
    provider = vendors.provider(name)
    assert isinstance(provider, Avatars)
    avatars = await provider.avatars()
    assert not isinstance(avatars, Refused)
    assert JOBS[name].options["avatar_id"] in {avatar.avatar_id for avatar in avatars}


@pytest.mark.parametrize("name", EACH)
async def test_a_vendor_that_can_not_be_reached_has_surely_taken_nothing(name: str) -> None:
    provider: Any = ADAPTERS[name]("http://127.0.0.1:9", KEY)
    assert fault_of(await provider.submit(JOBS[name])) == Fault.UNAVAILABLE
    assert not await provider.cancel("job-1")
    await provider.aclose()


@pytest.mark.parametrize("name", EACH)
async def test_asks_under_another_key_over_the_same_connections(name: str) -> None:
    vendor = Scripted()
    vendor.say({})
    provider = vendor.provider(name)
    other = provider.under("another-key")
    await other.submit(JOBS[name])
    sent = str(vendor.heard[0].headers.raw)
    assert "another-key" in sent
    assert KEY not in sent
    assert other._client is provider._client


TRUE_ANSWERS: list[Any] = [
    {"code": 200, "data": {"taskId": "job-1", "downloadUrl": "https://cdn.test/a.png"}},
    {"code": 200, "data": {"state": "success", "resultJson": '{"resultUrls": ["https://a.b"]}'}},
    {"code": 200, "data": {"state": "generating", "progress": 40}},
    {"code": 200, "data": {"state": "fail", "failMsg": "no"}},
    {"candidates": [{"content": {"parts": [{"inlineData": {"data": "aGk="}}]}}]},
    {"candidates": [{"finishReason": "IMAGE_SAFETY"}], "promptFeedback": {"blockReason": "no"}},
    {"error": {"code": "rate_limit_exceeded", "message": "no", "details": [{"retryDelay": "7s"}]}},
    {"data": {"video_id": "job-1", "status": "completed", "captioned_video_url": "https://a.b"}},
    {"data": {"status": "failed", "failure_code": "no", "error": {"code": "no", "message": "no"}}},
    {"data": [{"voice_id": "v", "id": "a", "name": "n"}], "has_more": True, "next_token": "2"},
    {"data": {"voices": [{"voice_id": "v"}], "avatars": [{"avatar_id": "a"}]}},
    {"voices": [{"voice_id": "v", "labels": {"gender": "f"}}], "next_page_token": "2"},
    {"detail": {"status": "quota_exceeded", "message": "no"}},
    {"detail": [{"loc": ["body"], "msg": "no", "type": "no"}]},
    {"motionVideoGenerationJob": {"generationId": "job-1"}},
    {
        "generations_by_pk": {
            "status": "COMPLETE",
            "generated_images": [{"motionMP4URL": "https://a.b"}],
        }
    },
    {"generations_by_pk": {"status": "FAILED", "failedReason": {"type": "no", "message": "no"}}},
    {
        "generations_by_pk": {
            "status": "PENDING",
            "prompt_moderations": [{"moderationClassification": []}],
        }
    },
    {"uploadInitImage": {"id": "i", "url": "https://vendor.test/put", "fields": '{"key": "k"}'}},
    {"user_details": [{"user": {"id": "u"}}], "generations": [{"id": "g", "seed": 7}]},
    {"error": "not enough api credits", "path": "$", "code": "unexpected"},
    {"delete_generations_by_pk": {"id": "job-1"}},
]
WORDS = st.sampled_from(["success", "COMPLETE", "{", "[]", "\ud800", "\0", "https://[", "7s"])
ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
    | st.just([]) | st.just({}) | st.just([None]) | st.just({"a": [1]})
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A true answer of one of them, with something odd in one place of it."""

    def within(value: Any) -> Any:
        if not value or isinstance(value, str | int | float) or draw(st.integers(0, 3)) == 0:
            return draw(ODD)
        if isinstance(value, list):
            return [within(value[0]), *value[1:]]
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: within(value[name])}

    return json.dumps(within(draw(st.sampled_from(TRUE_ANSWERS)))).encode()


BODIES = (
    spoiled()
    | st.sampled_from([json.dumps(answer).encode() for answer in TRUE_ANSWERS])
    | st.sampled_from([b"", b"[" * 100_000, b"<html>", b'{"code": ' + b"9" * 5_000 + b"}", b"\xff"])
)
STATUSES = st.sampled_from([200, 200, 200, 204, 301, 400, 401, 404, 409, 429, 500, 503])
HEADERS = st.sampled_from(
    [{}, {"retry-after": "soon"}, {"retry-after": "9" * 30}, {"content-type": "audio/mpeg"}]
)


async def everything(name: str, script: list[httpx.Response]) -> list[object]:
    """Each answer is given to whatever is asked first, and the last to all that follows."""
    vendor = Scripted()
    vendor.script.extend(script)
    provider = vendor.provider(name)
    job = JOBS[name]
    pictured = job if job.task_type in {"audio", "avatar"} else replace(job, input_image=PICTURE)
    asked = [provider.submit(pictured), provider.find(job), provider.look("job-1")]
    answers: list[object] = [await question for question in asked]
    answers.append(await provider.cancel("job-1"))
    if isinstance(provider, Voices):
        answers.append(await provider.voices())
    if isinstance(provider, Avatars):
        answers.append(await provider.avatars())
    return answers


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(STATUSES, HEADERS, BODIES), min_size=1, max_size=4))
def test_no_answer_whatever_makes_an_adapter_raise(
    answers: list[tuple[int, dict[str, str], bytes]],
) -> None:
    script = [httpx.Response(status, headers=told, content=body) for status, told, body in answers]

    async def all_of_them() -> None:
        for name in sorted({*EACH} - {"kie_film", "kie_speech"}):
            for answer in await everything(name, script):
                assert isinstance(answer, Submission | Look | bool | tuple | None), (
                    f"{name}: {answer}"
                )
                if isinstance(answer, Refused):
                    assert answer.message.isprintable()

    asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999"}, 600.0),
        ({"retry-after": "9" * 5_000}, 600.0),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:27:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_waits_as_long_as_the_vendor_asks_within_reason(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert retry_after_s(headers) == wait_s


def test_what_a_user_is_told_is_in_our_words_whatever_the_fault() -> None:
    assert OUTCOME_BY_FAULT.keys() == set(Fault) - TRANSIENT
    assert all(outcome in OUTCOMES for outcome, _, _ in OUTCOME_BY_FAULT.values())
