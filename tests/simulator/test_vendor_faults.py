"""Each fault at each vendor, in that vendor's own words."""

import json
from typing import Any

import httpx
import pytest

from tests.simulator.clients import REFUSALS, VENDORS
from tests.simulator.conftest import Caller
from tests.simulator.conftest import Vendor as Start

JOBS = sorted(name for name, one in VENDORS.items() if one.read_end)
SYNCHRONOUS = sorted(name for name, one in VENDORS.items() if not one.read_end)
REFUSED: dict[str, dict[str, tuple[int, Any]]] = {
    "kie": {
        "unauthorized": (200, 401),
        "no_credits": (200, 402),
        "rate_limited_then_ok": (200, 429),
        "maintenance": (200, 455),
    },
    "heygen": {
        "unauthorized": (401, "unauthorized"),
        "no_credits": (402, "insufficient_credit"),
        "rate_limited_then_ok": (429, "rate_limit_exceeded"),
        "server_error": (500, "internal_error"),
        "maintenance": (503, "service_unavailable"),
        "request_in_progress": (409, "request_in_progress"),
    },
    "leonardo": {
        "unauthorized": (401, "access-denied"),
        "no_credits": (402, "unexpected"),
        "rate_limited_then_ok": (429, "unexpected"),
        "server_error": (500, "unexpected"),
        "maintenance": (503, "unexpected"),
    },
    "elevenlabs": {
        "unauthorized": (401, "invalid_api_key"),
        "no_credits": (401, "quota_exceeded"),
        "rate_limited_then_ok": (429, "system_busy"),
        "too_many_at_once": (429, "too_many_concurrent_requests"),
        "server_error": (500, "internal_error"),
        "maintenance": (503, "service_unavailable"),
    },
    "google": {"maintenance": (503, "UNAVAILABLE")},
}
REFUSED["kie_speech"] = REFUSED["kie"]
REFUSED["heygen_v2"] = REFUSED["heygen"]
REFUSED["leonardo_film"] = REFUSED["leonardo"]
MODERATED = {
    "kie": "400",
    "kie_speech": "400",
    "heygen": "moderation_policy_violation",
    "heygen_v2": "moderation_policy_violation",
    "leonardo": "PROMPT_MODERATION_BLOCKED",
    "leonardo_film": "PROMPT_MODERATION_BLOCKED",
}
FAILED = {
    "kie": "501",
    "kie_speech": "501",
    "heygen": "rendering_failed",
    "heygen_v2": "rendering_failed",
    "leonardo": "GENERATION_FAILED",
    "leonardo_film": "GENERATION_FAILED",
}


@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_refuses_in_the_vendors_own_words(canned: Caller, name: str) -> None:
    for fault, (status, word) in REFUSED[name].items():
        answer = await VENDORS[name].create(canned.http, f"a harbour [[sim:{fault}]]")
        assert (answer.status_code, REFUSALS[name](answer.json())) == (status, word), fault
        assert (await canned.asked())[-1]["fault"] == fault


@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_says_when_to_come_again_and_then_answers(canned: Caller, name: str) -> None:
    words = "a harbour [[sim:rate_limited_then_ok retry_after=7]]"
    refused = await VENDORS[name].create(canned.http, words)
    said = refused.headers.get("retry-after") or refused.json()["error"]["details"][0]["retryDelay"]
    assert said.rstrip("s") == "7"
    await canned.http.delete("/_scenarios")
    assert (await VENDORS[name].create(canned.http, "a harbour")).status_code == 200


@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_breaks_in_ways_that_no_vendor_documents(canned: Caller, name: str) -> None:
    one = VENDORS[name]
    half = await one.create(canned.http, "x [[sim:malformed_json]]")
    with pytest.raises(json.JSONDecodeError):
        half.json()
    gateway = await one.create(canned.http, "x [[sim:server_error status=502]]")
    assert gateway.status_code == 502


@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_works_for_nobody_without_a_key(canned: Caller, name: str) -> None:
    answer = await VENDORS[name].create(canned.http, key=" ")
    refused = REFUSED[name].get("unauthorized", (403, "PERMISSION_DENIED"))
    assert (answer.status_code, REFUSALS[name](answer.json())) == refused


async def test_loses_the_answers_of_jobs_that_it_does(vendor: Start) -> None:
    async with vendor(canned=True) as caller:
        for name, one in VENDORS.items():
            with pytest.raises(httpx.TransportError):
                await one.create(caller.http, "a harbour [[sim:answer_lost]]")
            asked = (await caller.asked())[-1]
            assert asked["task_id"], name
            if one.read_end:
                end = await one.done(caller.http, asked["task_id"])
                assert end.url, name


@pytest.mark.parametrize("name", JOBS)
async def test_tells_how_a_job_ended(canned: Caller, name: str) -> None:
    one, http = VENDORS[name], canned.http
    good = await one.done(http, await one.created(http))
    assert (good.code, (await http.get(good.url)).status_code) == ("", 200)
    jobs = [await one.created(http, f"x [[sim:{words}]]") for words in ("moderated", "fail")]
    late = await one.created(http, "x [[sim:moderated when=after]]")
    ends = [await one.done(http, job) for job in (*jobs, late)]
    assert [end.code for end in ends] == [MODERATED[name], FAILED[name], MODERATED[name]]
    assert not any(end.url for end in ends)


@pytest.mark.parametrize("name", JOBS)
async def test_states_go_backwards_and_looks_are_refused(canned: Caller, name: str) -> None:
    one, http = VENDORS[name], canned.http
    assert one.read_end is not None
    job = await one.created(http, "x [[sim:state_backwards]]")
    states = [one.read_end((await one.look(http, job)).json()).state for _ in range(3)]
    assert states[0] == states[2] != states[1]
    busy = await one.created(http, "x [[sim:rate_limited_then_ok on=look]]")
    status, word = REFUSED[name]["rate_limited_then_ok"]
    refused = await one.look(http, busy)
    assert (refused.status_code, REFUSALS[name](refused.json())) == (status, word)
    assert (await one.done(http, busy)).url


@pytest.mark.parametrize("name", JOBS)
async def test_another_keys_job_is_unknown(canned: Caller, name: str) -> None:
    one, http = VENDORS[name], canned.http
    job = await one.created(http)
    answer = await one.look(http, job, key="other")
    unknown = [answer.status_code, answer.json().get("code"), answer.json()]
    assert 404 in unknown or {"generations_by_pk": None} in unknown


@pytest.mark.parametrize("name", JOBS)
async def test_results_are_cut_mislabelled_expired_and_no_media(canned: Caller, name: str) -> None:
    one, http = VENDORS[name], canned.http

    async def fetched(fault: str) -> httpx.Response:
        end = await one.done(http, await one.created(http, f"x [[sim:{fault}]]"))
        return await http.get(end.url)

    whole, cut = await fetched("canned"), await fetched("truncated fraction=0.25")
    assert whole.content.startswith(cut.content)
    assert len(cut.content) == len(whole.content) // 4
    assert (await fetched("mislabelled")).headers["content-type"].startswith("text/plain")
    assert (await fetched("wrong_mime")).headers["content-type"].startswith("text/html")
    assert (await fetched("expired_link")).status_code == 403
    assert len((await fetched("oversized bytes=100000")).content) == 100_000


async def test_speech_is_answered_cut_or_as_something_else(canned: Caller) -> None:
    one, http = VENDORS["elevenlabs"], canned.http
    whole = await one.create(http)
    cut = await one.create(http, "a [[sim:truncated]]")
    assert whole.headers["content-type"] == "audio/mpeg"
    assert len(cut.content) == len(whole.content) // 2
    html = await one.create(http, "a [[sim:wrong_mime]]")
    assert html.headers["content-type"].startswith("text/html")
    moderated = await one.create(http, "a [[sim:moderated]]")
    assert moderated.json()["detail"]["status"] == "content_against_policy"


@pytest.mark.parametrize("name", SYNCHRONOUS)
async def test_an_answer_that_takes_too_long_is_given_up(vendor: Start, name: str) -> None:
    async with vendor(canned=True, answer_timeout_s=0.1) as caller:
        answer = await VENDORS[name].create(caller.http, "a [[sim:latency seconds=5]]")
        assert answer.status_code == 504


@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_a_price_that_drifted_shows_on_the_bill(canned: Caller, name: str) -> None:
    one, http = VENDORS[name], canned.http
    await canned.scenario("price_drift", next_n=1, factor=3)
    for _ in range(2):
        answer = await one.create(http)
        if one.read_end:
            await one.done(http, one.read_id(answer.json()))
    (bill,) = (await http.get("/_bill")).json()["bills"]
    assert bill["vendor"] == name.split("_", maxsplit=1)[0]
    assert (bill["accepted"], bill["succeeded"], bill["promised_credits"]) == (2, 2, 0)
    assert bill["charged_credits"] == bill["listed_credits"] // 2 * 4 > 0
    items = (await http.get("/_bill/items")).json()["items"]
    assert [one["charged_credits"] // one["listed_credits"] for one in items] == [3, 1]


@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_refuses_a_body_that_is_no_json_or_no_object(canned: Caller, name: str) -> None:
    one, http = VENDORS[name], canned.http
    for content in (b"{", b"[" * 100_000, b"7", b'"' + b"x" * 1_100_000 + b'"'):
        answer = await http.post(one.path, content=content, headers=one.headers("k"))
        assert answer.status_code in {400, 413, 422} or answer.json()["code"] in {400, 422}


async def test_a_fault_that_a_vendor_has_no_words_for_is_not_played(canned: Caller) -> None:
    for name, fault in (("kie", "request_in_progress"), ("heygen", "too_many_at_once")):
        answer = await VENDORS[name].create(canned.http, f"x [[sim:{fault}]]")
        assert answer.status_code == 200
        assert (await canned.asked())[-1]["fault"] == ""


async def test_one_key_at_two_vendors_has_two_bills(canned: Caller) -> None:
    for name in ("kie", "heygen", "leonardo", "elevenlabs", "google"):
        await VENDORS[name].create(canned.http)
    bills = (await canned.http.get("/_bill")).json()["bills"]
    assert len({(one["vendor"], one["key"]) for one in bills}) == 5
    assert len({one["key"] for one in bills}) == 1
    asked = [(one["vendor"], one["code"]) for one in await canned.asked()]
    assert asked == [(one["vendor"], 200) for one in bills]
