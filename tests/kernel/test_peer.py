"""One service asks another: in its process or over HTTP, as itself, and never twice in vain."""

import json
import socket

import pytest

from kernel.context import Origin, caused_by
from kernel.errors import Unavailable
from kernel.http import Caller, InternalTokens, create_app
from kernel.http.identity import HEADER, ITSELF
from kernel.http.peer import Peer
from kernel.testing import FakeClock
from tests.generation.scripted_vendor import listening

TRACEPARENT = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"


@pytest.fixture
def tokens(clock: FakeClock) -> InternalTokens:
    return InternalTokens(b"a secret of this test, and of nothing else", clock)


def nobody_there() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_asks_as_itself_on_behalf_of_the_request_that_it_works_for(
    tokens: InternalTokens,
) -> None:
    async with listening() as server:
        peer = Peer.at("keys", [server.address], tokens)
        server.say({"answer": 7}, 404)
        with caused_by(Origin("request-1", None, TRACEPARENT), "generation"):
            answer = await peer.ask("/internal/question", {"of": "whom"})
        await peer.aclose()
    assert (answer.status_code, answer.json()) == (404, {"answer": 7})
    line, headers, body = server.heard[0]
    assert line.split()[:2] == ["POST", "/internal/question"]
    assert json.loads(body) == {"of": "whom"}
    assert tokens.read(headers[HEADER]) == ITSELF
    assert (headers["x-request-id"], headers["traceparent"]) == ("request-1", TRACEPARENT)


async def test_asks_an_app_of_its_own_process_alike(tokens: InternalTokens) -> None:
    from fastapi import APIRouter

    router = APIRouter()

    @router.post("/internal/question")
    async def answer(caller: Caller, body: dict[str, str]) -> dict[str, str]:
        return {**body, "role": caller.role}

    async def ready() -> bool:
        return True

    app = create_app("keys", [router], internal_tokens=tokens, ready=ready)
    peer = Peer.here("keys", app, tokens)
    answered = await peer.ask("/internal/question", {"of": "whom"})
    assert answered.json() == {"of": "whom", "role": "service"}
    await peer.aclose()


async def test_asks_the_next_replica_when_one_is_away(tokens: InternalTokens) -> None:
    async with listening() as server:
        peer = Peer.at("keys", [nobody_there(), server.address], tokens)
        for _ in range(3):
            server.say({})
            assert (await peer.ask("/q", {})).status_code == 200
        await peer.aclose()


async def test_asks_once_more_when_a_connection_ends_without_an_answer(
    tokens: InternalTokens,
) -> None:
    async with listening() as server:
        peer = Peer.at("keys", [server.address], tokens)
        server.hang_up()
        server.say({})
        assert (await peer.ask("/q", {})).status_code == 200
        await peer.aclose()


async def test_is_unavailable_when_nobody_answers_or_it_fails(tokens: InternalTokens) -> None:
    async with listening() as server:
        for base_urls in ([nobody_there()], [server.address]):
            peer = Peer.at("keys", base_urls, tokens)
            server.say({}, 503)
            with pytest.raises(Unavailable) as refused:
                await peer.ask("/q", {})
            assert base_urls[0] not in str(refused.value)
            await peer.aclose()


async def test_waits_for_an_answer_no_longer_than_it_says(tokens: InternalTokens) -> None:
    async with listening() as server:
        peer = Peer.at("keys", [server.address], tokens, timeout_s=0.2)
        server.script.append(b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n")
        server.dribbles = True
        with pytest.raises(Unavailable):
            await peer.ask("/q", {})
        await peer.aclose()


def test_needs_an_address(tokens: InternalTokens) -> None:
    with pytest.raises(ValueError, match="keys needs an address"):
        Peer.at("keys", [], tokens)
