import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import Route

from services.simulator.api.answers import CutConnection


async def link_of(kie: Any, prompt: str) -> str:
    data = await kie.done(await kie.created(prompt))
    return str(json.loads(data["resultJson"])["resultUrls"][0])


@pytest.mark.parametrize(
    ("name", "code"), [("no_credits", 402), ("unauthorized", 401), ("rate_limited_then_ok", 429)]
)
async def test_refuses_in_the_vendors_codes(canned: Any, name: str, code: int) -> None:
    assert (await canned.create(f"a cat [[sim:{name}]]"))["code"] == code


async def test_is_rate_limited_as_often_as_asked_and_then_ok(canned: Any) -> None:
    prompt = "a cat [[sim:rate_limited_then_ok times=2]]"
    codes = [(await canned.create(prompt))["code"] for _ in range(3)]
    assert codes == [429, 429, 200]


async def test_a_standing_scenario_strikes_its_key_and_number_only(canned: Any) -> None:
    await canned.scenario("rate_limited_then_ok", key="a", times=2)
    codes = [(await canned.create("a cat", key=key))["code"] for key in ("b", "a", "a", "a")]
    assert codes == [200, 429, 429, 200]


async def test_cleared_scenarios_strike_no_more(canned: Any) -> None:
    await canned.scenario("no_credits")
    assert (await canned.create("a cat"))["code"] == 402
    await canned.http.delete("/_scenarios")
    assert (await canned.create("a cat"))["code"] == 200


async def test_refuses_an_unknown_scenario_and_more_than_it_holds(vendor: Any) -> None:
    async with vendor(max_scenarios=1, canned=True) as kie:
        unknown = await kie.http.post("/_scenarios", json={"name": "explode"})
        assert unknown.status_code == 422
        wrong = await kie.http.post("/_scenarios", json={"name": "fail", "next_n": 0})
        assert wrong.status_code == 422
        nested = await kie.http.post("/_scenarios", json={"name": "fail", "when": {"a": 1}})
        assert nested.status_code == 422
        form = await kie.http.post("/_scenarios", content=b'{"name":"fail"}')
        assert form.status_code == 415
        await kie.scenario("fail")
        assert (await kie.http.post("/_scenarios", json={"name": "fail"})).status_code == 409


@pytest.mark.parametrize(("name", "code"), [("fail", "501"), ("moderated", "400")])
async def test_a_job_fails_after_it_was_accepted(canned: Any, name: str, code: str) -> None:
    await canned.scenario(name, next_n=1)
    data = await canned.done(await canned.created("a cat"))
    assert (data["state"], data["failCode"], data["resultJson"]) == ("fail", code, "")
    assert data["failMsg"]


async def test_breaks_the_connection_before_the_job_exists(vendor: Any) -> None:
    async with vendor(canned=True) as kie:
        with pytest.raises(httpx.TransportError):
            await kie.create("a cat [[sim:connection_reset]]")
        (asked,) = await kie.asked()
        assert (asked["task_id"], asked["fault"]) == ("", "connection_reset")


async def test_loses_the_answer_of_a_job_that_it_does(vendor: Any) -> None:
    async with vendor(canned=True) as kie:
        with pytest.raises(httpx.TransportError):
            await kie.create("a cat [[sim:answer_lost]]")
        (asked,) = await kie.asked()
        assert (await kie.done(asked["task_id"]))["state"] == "success"


async def test_answers_with_a_server_error_or_half_a_json(canned: Any) -> None:
    async def raw(name: str) -> httpx.Response:
        body = {"model": "nano-banana-pro", "input": {"prompt": f"[[sim:{name}]]"}}
        answer: httpx.Response = await canned.http.post(
            "/kie/api/v1/jobs/createTask", json=body, headers={"Authorization": "Bearer k"}
        )
        return answer

    assert (await raw("server_error")).status_code == 500
    with pytest.raises(json.JSONDecodeError):
        (await raw("malformed_json")).json()


async def test_a_look_may_be_refused_and_the_next_one_not(canned: Any) -> None:
    task = await canned.created("a cat [[sim:rate_limited_then_ok on=look]]")
    assert [(await canned.look(task))["code"] for _ in range(2)] == [429, 200]


async def test_a_lost_job_is_unknown_though_it_was_accepted(canned: Any) -> None:
    assert (await canned.look(await canned.created("[[sim:lost]]")))["code"] == 404


async def test_a_hanging_job_is_generating_for_ever(vendor: Any) -> None:
    async with vendor() as kie:
        task = await kie.created("a cat [[sim:hang]]")
        for _ in range(500):
            data = (await kie.look(task))["data"]
            if data["state"] == "generating":
                break
            await asyncio.sleep(0.01)
        assert data["state"] == "generating"
        assert data["progress"] < 100


async def test_latency_holds_a_result_back(vendor: Any) -> None:
    async with vendor(canned=True) as kie:
        task = await kie.created("a cat [[sim:latency seconds=0.4]]")
        assert (await kie.look(task))["data"]["state"] in {"waiting", "generating"}
        data = await kie.done(task)
        assert data["completeTime"] - data["createTime"] == 400


async def test_a_result_may_be_html_or_expired(canned: Any) -> None:
    html = await canned.http.get(await link_of(canned, "[[sim:wrong_mime]]"))
    assert html.headers["content-type"].startswith("text/html")
    expired = await canned.http.get(await link_of(canned, "[[sim:expired_link]]"))
    assert expired.status_code == 403


async def test_a_result_may_have_no_end(vendor: Any) -> None:
    async with vendor(canned=True) as kie:
        link = await link_of(kie, "[[sim:oversized]]")
        received = 0
        async with kie.http.stream("GET", link) as answer:
            assert "content-length" not in answer.headers
            async for chunk in answer.aiter_bytes():
                received += len(chunk)
                if received > 3_000_000:
                    break
        assert received > 3_000_000


async def test_a_state_goes_backwards(canned: Any) -> None:
    task = await canned.created("[[sim:state_backwards]]")
    states = [(await canned.look(task))["data"]["state"] for _ in range(3)]
    assert states == ["success", "waiting", "success"]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_is_cut_on_the_loop_that_the_product_runs_on_too(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def asked() -> None:
        app = Starlette(routes=[Route("/", lambda _: CutConnection())])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://127.0.0.1:{port}/")
        server.should_exit = True
        await serving

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asked())
