import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from services.gateway.api.routes import JSON_BODY_BYTES_MAX
from tests.gateway.driving import World, http_scope, read_all, respond

TASKS = "/api/v2/generation/tasks"
GENERATE = "/api/v2/generation/generate"


async def test_streams_both_ways_without_gathering(
    world: World, signed_in: tuple[str, str]
) -> None:
    """Each piece is answered before the next is sent: a buffer anywhere would stop this."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    world.generation.act = echo
    up: asyncio.Queue[Message] = asyncio.Queue()
    down: asyncio.Queue[Message] = asyncio.Queue()
    scope = http_scope("POST", GENERATE, [signed_in])
    running = asyncio.ensure_future(world.app(scope, up.get, down.put))
    assert (await down.get())["status"] == 200
    for piece in (b"one", b"two", b"three"):
        up.put_nowait({"type": "http.request", "body": piece, "more_body": True})
        assert (await down.get())["body"] == piece
    up.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    assert (await down.get())["more_body"] is False
    await running


async def test_an_announced_body_over_the_limit_is_refused_unread(
    world: World, signed_in: tuple[str, str]
) -> None:
    length = ("Content-Length", str(JSON_BODY_BYTES_MAX + 1))
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    await world.app(http_scope("POST", GENERATE, [signed_in, length]), receive, send)
    assert sent[0]["status"] == 413
    assert b'"too_large"' in sent[1]["body"]
    assert world.generation.scopes == []


async def test_a_body_that_grows_over_the_limit_is_cut_and_refused(
    world: World, signed_in: tuple[str, str]
) -> None:
    read = 0

    def pieces() -> list[bytes]:
        return [b"x" * 65_536] * 17

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal read
        while (message := await receive())["type"] == "http.request":
            read += len(message["body"])
        await respond(send, 400, [], b'{"error":"bad_json","message":"cut","details":{}}')

    world.generation.act = count
    answer = await world.ask("POST", GENERATE, [signed_in], pieces())
    assert (answer.status, answer.code) == (413, "too_large")
    assert answer.json["details"] == {"body_bytes_max": JSON_BODY_BYTES_MAX}
    assert read <= JSON_BODY_BYTES_MAX


async def test_a_service_that_raises_at_a_cut_body_is_still_a_413(
    world: World, signed_in: tuple[str, str]
) -> None:
    answer = await world.ask("POST", GENERATE, [signed_in], [b"x" * (JSON_BODY_BYTES_MAX + 1)])
    assert answer.status == 413


async def test_a_service_that_accepts_a_cut_body_is_not_believed(
    world: World, signed_in: tuple[str, str]
) -> None:
    async def accept(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "http.request":
            pass
        await respond(send, 201, [], b"{}")

    world.generation.act = accept
    answer = await world.ask("POST", GENERATE, [signed_in], [b"x" * (JSON_BODY_BYTES_MAX + 1)])
    assert answer.status == 413


async def test_a_body_of_exactly_the_limit_passes(world: World, signed_in: tuple[str, str]) -> None:
    body = b"x" * JSON_BODY_BYTES_MAX
    length = ("Content-Length", str(len(body)))
    assert (await world.ask("POST", GENERATE, [signed_in, length], [body])).status == 200
    assert world.generation.bodies == [body]


@pytest.mark.parametrize("lengths", [["-1"], ["1e3"], ["\xb2"], ["5", "6"], ["9" * 5_000]])
async def test_a_length_that_is_no_number_is_refused(
    world: World, signed_in: tuple[str, str], lengths: list[str]
) -> None:
    headers = [signed_in, *(("Content-Length", length) for length in lengths)]
    answer = await world.ask("POST", GENERATE, headers)
    assert (answer.status, answer.code) == (400, "malformed_request")


async def test_who_may_not_learns_nothing_of_limits(world: World) -> None:
    length = ("Content-Length", str(JSON_BODY_BYTES_MAX * 2))
    assert (await world.ask("POST", GENERATE, [length])).status == 401


async def test_a_client_that_leaves_is_told_to_the_service(
    world: World, signed_in: tuple[str, str]
) -> None:
    told: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        told.append((await receive())["type"])

    world.generation.act = wait
    client: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"", "more_body": False},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return client.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    with capture_logs() as logs:
        await world.app(http_scope("GET", f"{TASKS}/1/wait", [signed_in]), receive, send)
    assert told == ["http.disconnect"]
    assert sent == []
    assert [line["status"] for line in logs] == [499]
