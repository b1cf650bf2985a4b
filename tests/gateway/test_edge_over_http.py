"""The edge over services in other processes: everything as in one, and what is away is said so."""

import asyncio
import json
from pathlib import Path

import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from kernel.settings import WrongSettings, read_settings
from services.gateway.adapters.http_upstream import HttpUpstream
from services.gateway.api.refusals import BrokeOff
from services.gateway.app import http_upstreams
from services.gateway.settings import GatewaySettings
from tests.gateway.driving import World, api_key, ask, bearer, http_scope
from tests.gateway.serving import Wire, odd, page, reaching, refusing, served

TASKS = "/api/v2/generation/tasks"
SHORT_S = 0.05


async def test_a_request_passes_with_its_identity_and_its_id() -> None:
    inside = World()
    async with served(inside.generation) as url, reaching(url) as upstream:
        world = World(generation=upstream)
        token = world.token()
        answer = await world.ask("GET", TASKS, [bearer(token)], query="limit=5&x=%2e")
    assert (answer.status, answer.json) == (200, {"ok": True})
    assert inside.generation.scopes[0]["query_string"] == b"limit=5&x=%2e"
    assert inside.generation.headers_seen["x-request-id"] == answer.one("x-request-id")
    assert world.caller(inside.generation).role == "user"
    assert len(answer.all("date")) == 0  # the edge's own server says it


async def test_keys_are_asked_over_http_too() -> None:
    inside = World()
    async with served(inside.keys) as url, reaching(url) as upstream:
        world = World(keys=upstream)
        key = inside.key()
        assert (await world.ask("GET", TASKS, [api_key(key)])).status == 200
        unknown = await world.ask("GET", TASKS, [api_key(World().key())])
    assert (unknown.status, unknown.code) == (401, "invalid_api_key")
    assert len(inside.keys.asked) == 2


async def test_a_service_that_is_away_is_a_503_in_the_form_of_the_surface() -> None:
    async with reaching(refusing()) as away:
        world = World(generation=away)
        native = await world.ask("GET", TASKS, [bearer(world.token())])
        without_keys = World(keys=away)
        klikyai = await without_keys.ask("POST", "/auth/login")
        unchecked = await without_keys.ask("GET", TASKS, [api_key(world.key())])
    assert (native.status, native.code) == (503, "service_unavailable")
    assert native.one("retry-after") == "1"
    assert klikyai.json["error"]["code"] == "HTTP_503"
    assert (unchecked.status, unchecked.code) == (503, "credentials_unavailable")
    assert b"127.0.0.1" not in native.body + klikyai.body


async def test_a_service_that_breaks_is_a_502_and_a_silent_one_a_504() -> None:
    async def act(wire: Wire) -> None:
        if b"/estimate" in await wire.request():
            await wire.reader.read()

    async with odd(act) as server, reaching(server.url, answer_timeout_s=SHORT_S) as upstream:
        world = World(generation=upstream)
        signed_in = bearer(world.token())
        broken = await world.ask("DELETE", f"{TASKS}/1", [signed_in])
        silent = await world.ask("POST", "/api/v2/generation/estimate", [signed_in])
    assert (broken.status, broken.code) == (502, "bad_gateway")
    assert (silent.status, silent.code) == (504, "timed_out")


async def test_an_answer_that_breaks_off_is_not_ended_as_if_it_were_whole() -> None:
    async def act(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    async with odd(act) as server, reaching(server.url) as upstream:
        world = World(storage=upstream)
        up: asyncio.Queue[Message] = asyncio.Queue()
        up.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        down: asyncio.Queue[Message] = asyncio.Queue()
        with pytest.raises(BrokeOff):
            await world.app(http_scope("GET", "/media/x"), up.get, down.put)


async def test_an_error_that_stops_in_the_middle_is_a_504() -> None:
    async def act(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nhalf")
        await wire.reader.read()

    async with odd(act) as server, reaching(server.url, answer_timeout_s=SHORT_S) as upstream:
        world = World(storage=upstream)
        assert (await world.ask("GET", "/media/x")).status == 504


async def test_a_client_that_left_is_a_499_whatever_the_service_does() -> None:
    async def act(wire: Wire) -> None:
        await wire.request()
        client.put_nowait({"type": "http.disconnect"})
        await wire.reader.read()

    client: asyncio.Queue[Message] = asyncio.Queue()
    client.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    sent: asyncio.Queue[Message] = asyncio.Queue()
    with capture_logs() as logs:
        async with odd(act) as server, reaching(server.url) as upstream:
            world = World(storage=upstream)
            await world.app(http_scope("GET", "/media/x"), client.get, sent.put)
    assert [(line["event"], line["status"]) for line in logs] == [("request", 499)]
    assert sent.empty()


async def test_a_body_over_its_limit_is_a_413_and_never_whole_for_the_service() -> None:
    inside = World()
    async with served(inside.generation) as url, reaching(url) as upstream:
        world = World(generation=upstream)
        pieces = [b"x" * 65_536] * 17
        path = "/api/v2/generation/generate"
        answer = await world.ask("POST", path, [bearer(world.token())], pieces)
    assert (answer.status, answer.code) == (413, "too_large")
    assert inside.generation.bodies == []


async def test_the_document_is_not_kept_while_a_service_is_away() -> None:
    inside, url = World(), refusing()
    async with reaching(url) as upstream:
        world = World(storage=upstream)
        away = await world.ask("GET", "/openapi.json")
        assert (away.status, away.code) == (503, "service_unavailable")

        async def act(wire: Wire) -> None:
            await wire.request()
            await wire.send(page(json.dumps(inside.storage.openapi).encode()))

        async with odd(act, port=int(url.rpartition(":")[2])):
            assert (await world.ask("GET", "/openapi.json")).status == 200
    assert (await world.ask("GET", "/openapi.json")).status == 200


async def test_the_addresses_of_all_services_are_read_and_their_connections_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("KEYS", "CREDITS", "GENERATION", "STORAGE"):
        monkeypatch.setenv(
            f"{name}_URL", f"http://{name.lower()}-1:80, http://{name.lower()}-2:80/"
        )
    settings = read_settings(GatewaySettings)
    assert settings.keys_url == ("http://keys-1:80", "http://keys-2:80")
    upstreams = http_upstreams(settings)
    world = World(**upstreams)
    assert set(world.service.resources) == set(upstreams.values())
    await world.service.stop()
    for upstream in upstreams.values():
        with pytest.raises(RuntimeError, match="closed"):
            await ask(upstream, "GET", "/x")


def test_a_malformed_address_refuses_to_start_and_names_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDITS_URL", "http://credits:80,http://user:hunter2@credits/path")
    with pytest.raises(WrongSettings, match="CREDITS_URL") as refused:
        read_settings(GatewaySettings)
    assert "hunter2" not in str(refused.value)


async def test_a_gateway_without_an_address_refuses_to_start_and_names_it() -> None:
    settings = GatewaySettings.model_construct(
        keys_url=("http://keys",), credits_url=(), generation_url=("http://g",), storage_url=()
    )
    with pytest.raises(WrongSettings, match="CREDITS_URL, STORAGE_URL"):
        http_upstreams(settings)


async def test_services_in_this_process_have_nothing_to_close(world: World) -> None:
    assert not any(isinstance(item, HttpUpstream) for item in world.service.resources)
