"""Callbacks over real HTTP: honest, signed, and as a scenario has them."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.simulator.domain.callbacks import Delivery, at_acceptance, at_end
from services.simulator.domain.scenarios import Scenario, in_prompt
from tests.simulator.clients import VENDORS, bearer, heygen_v3, x_api_key
from tests.simulator.conftest import Vendor

PATIENCE_S = 5.0
HEAD_END = b"\r\n\r\n"


@dataclass
class Heard:
    """Requests to a server that answers each with 204."""

    port: int = 0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/heard"

    def bodies(self) -> Iterator[Any]:
        return (json.loads(body) for _, body in self.requests)

    async def wait(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) < number:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def listening() -> AsyncIterator[Heard]:
    heard = Heard()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(HEAD_END)).decode()
        pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        heard.requests.append((headers, body))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    heard.port = server.sockets[0].getsockname()[1]
    async with server:
        yield heard


def kie_order(prompt: str, url: str) -> dict[str, Any]:
    return {"model": "nano-banana-pro", "input": {"prompt": prompt}, "callBackUrl": url}


@pytest.mark.parametrize(
    ("words", "early", "late"),
    [
        ("", [], ["true"]),
        ("[[sim:callback_lost]]", [], []),
        ("[[sim:callback_duplicate times=3]]", [], ["true"] * 3),
        ("[[sim:callback_reordered]]", [], ["true", "stale"]),
        ("[[sim:callback_forged]]", ["forged"], ["true"]),
        ("[[sim:callback_forged when=after]]", [], ["true", "forged"]),
        ("[[sim:callback_lost]] [[sim:callback_forged]]", ["forged"], []),
    ],
)
def test_a_scenario_decides_what_is_sent_when(
    words: str, early: list[str], late: list[str]
) -> None:
    due = in_prompt(words)
    assert [one.kind for one in at_acceptance(due)] == early
    assert [one.kind for one in at_end(due)] == late


def test_a_late_callback_has_a_bound() -> None:
    late = Scenario("callback_late", arguments={"seconds": 9e9})
    assert at_end((late,)) == (Delivery("true", 600.0),)


async def test_kie_calls_back_signed_and_forgers_do_not_know_the_key(vendor: Vendor) -> None:
    async with listening() as heard, vendor(canned=True, kie_hmac_key="secret") as caller:
        order = kie_order("a cat [[sim:callback_forged when=after]]", heard.url)
        create = VENDORS["kie"].path
        answer = await caller.http.post(create, json=order, headers=bearer("k"))
        task = answer.json()["data"]["taskId"]
        await heard.wait(2)
        true, forged = heard.bodies()
        assert true == {"code": 200, "msg": "success", "data": (await caller.look(task))["data"]}
        assert "forged" in forged["data"]["resultJson"]
        fits = []
        for headers, _ in heard.requests:
            signed = f"{task}.{headers['x-webhook-timestamp']}".encode()
            expected = base64.b64encode(hmac.digest(b"secret", signed, hashlib.sha256)).decode()
            fits.append(headers["x-webhook-signature"] == expected)
        assert fits == [True, False]
        noted = [one for one in await caller.asked() if one["operation"] == "callback"]
        assert [(one["code"], one["fault"]) for one in noted][:1] == [(204, "")]


async def test_a_callback_waits_for_the_end_and_a_failure_is_told(vendor: Vendor) -> None:
    async with listening() as heard, vendor(canned=True) as caller:
        order = kie_order("a cat [[sim:fail]]", heard.url)
        await caller.http.post(VENDORS["kie"].path, json=order, headers=bearer("k"))
        await heard.wait(1)
        (body,) = heard.bodies()
        assert (body["code"], body["data"]["state"]) == (501, "fail")
        assert "x-webhook-signature" not in heard.requests[0][0]


async def test_heygen_calls_the_endpoint_that_was_registered(vendor: Vendor) -> None:
    async with listening() as heard, vendor(canned=True) as caller:
        registered = await caller.http.post(
            "/heygen/v3/webhooks/endpoints",
            json={"url": heard.url, "events": ["avatar_video.success"]},
            headers=x_api_key("k"),
        )
        secret = registered.json()["data"]["secret"].encode()
        order = heygen_v3("Good morning.", callback_id="mine")
        await caller.http.post(VENDORS["heygen"].path, json=order, headers=x_api_key("k"))
        await heard.wait(1)
        headers, body = heard.requests[0]
        assert headers["signature"] == hmac.digest(secret, body, hashlib.sha256).hex()
        said = json.loads(body)
        assert said["event_type"] == "avatar_video.success"
        assert said["event_data"]["callback_id"] == "mine"
        assert (await caller.http.get(said["event_data"]["url"])).status_code == 200


async def test_leonardo_calls_back_with_the_callbacks_key(vendor: Vendor) -> None:
    async with listening() as heard:
        given = {"leonardo_webhook_url": heard.url, "leonardo_webhook_key": "theirs"}
        async with vendor(canned=True, **given) as caller:
            await VENDORS["leonardo"].create(caller.http, "a cat [[sim:callback_reordered]]")
            await heard.wait(2)
            first, second = heard.bodies()
            assert heard.requests[0][0]["authorization"] == "Bearer theirs"
            assert first["type"] == "image_generation.complete"
            states = [one["data"]["object"]["status"] for one in (first, second)]
            assert states == ["COMPLETE", "PENDING"]
            assert first["data"]["object"]["images"][0]["url"]


async def test_a_deleted_generation_is_not_told_of(vendor: Vendor) -> None:
    async with listening() as heard, vendor(canned=True, leonardo_webhook_url=heard.url) as caller:
        one = VENDORS["leonardo"]
        gone = await one.created(caller.http, "a cat [[sim:hang]]")
        await caller.http.delete(one.look_at.format(gone), headers=bearer("k"))
        kept = await one.created(caller.http)
        await heard.wait(1)
        assert [body["data"]["object"]["id"] for body in heard.bodies()] == [kept]


async def test_nobody_beyond_this_machine_is_called(vendor: Vendor) -> None:
    async with vendor(canned=True) as caller:
        order = kie_order("a cat", "http://192.0.2.1/hook")
        await caller.http.post(VENDORS["kie"].path, json=order, headers=bearer("k"))
        async with asyncio.timeout(PATIENCE_S):
            while (last := (await caller.asked())[-1])["operation"] != "callback":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert last["code"] == 0
