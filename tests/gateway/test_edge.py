import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from services.gateway.api.refusals import BrokeOff
from tests.gateway.driving import World, api_key, ask, bearer, http_scope, read_all

TASKS = "/api/v2/generation/tasks"
GENERATE = "/api/v2/generation/generate"


@pytest.mark.parametrize(
    "path", [TASKS, f"{TASKS}/", "/v2/generation/tasks", "/%61pi/v2/generation/tasks"]
)
async def test_each_way_to_write_a_path_is_sent_on_in_its_normal_form(
    world: World, signed_in: tuple[str, str], path: str
) -> None:
    assert (await world.ask("GET", path, [signed_in], query="limit=5&x=%2e")).status == 200
    scope = world.generation.scopes[-1]
    assert (scope["path"], scope["raw_path"]) == (TASKS, TASKS.encode())
    assert (scope["query_string"], scope["root_path"]) == (b"limit=5&x=%2e", "")


@pytest.mark.parametrize(
    "path",
    [
        "/media/../internal/keys/resolve",
        "//api/keys",
        "/api/keys;a",
        "/media/%2e%2e%2fx",
        "/media/a%5cb",
    ],
)
async def test_a_tricky_path_is_refused_before_anything_else(world: World, path: str) -> None:
    answer = await world.ask("GET", path)
    assert (answer.status, answer.code) == (400, "invalid_path")
    assert world.storage.scopes == []


async def test_the_host_does_not_move_the_route(world: World) -> None:
    answer = await world.ask("GET", "/internal/x", [("Host", "x/api/keys#@evil")])
    assert answer.status == 404


@pytest.mark.parametrize(
    "path", ["/", "/internal/keys/resolve", "/api/nothing", "/metrics", "/API/KEYS"]
)
async def test_what_is_not_routed_is_not_found(world: World, path: str) -> None:
    answer = await world.ask("POST", path, [bearer(world.token("admin"))])
    assert (answer.status, answer.code) == (404, "not_found")
    assert world.keys.scopes == []


async def test_another_method_is_told_which_are_allowed(world: World) -> None:
    answer = await world.ask("PATCH", "/api/keys")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.one("allow") == "GET, POST"


@pytest.mark.parametrize("model", ["flux-2", "kie-ai/flux-2"])
async def test_a_model_id_may_have_a_slash(
    world: World, signed_in: tuple[str, str], model: str
) -> None:
    path = f"/api/v2/generation/models/{model}"
    assert (await world.ask("GET", path, [signed_in])).status == 200
    assert world.generation.scopes[-1]["path"] == path


async def test_a_signed_link_reaches_storage_as_it_came(world: World) -> None:
    world.storage.headers = [(b"content-length", b"11")]
    query = "expires=1&signature=a-b_c"
    answer = await world.ask("HEAD", "/media/images/caf%C3%A9.png", query=query)
    assert answer.status == 200
    assert answer.one("content-length") == "11"
    scope = world.storage.scopes[-1]
    assert (scope["path"], scope["method"]) == ("/media/images/café.png", "HEAD")
    assert scope["query_string"] == query.encode()


async def test_a_service_that_raises_is_a_bad_gateway_without_a_word_of_it(
    world: World, signed_in: tuple[str, str]
) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("password=hunter2 at db.internal")

    world.generation.act = fail
    answer = await world.ask("GET", TASKS, [signed_in])
    assert (answer.status, answer.code) == (502, "bad_gateway")
    assert b"hunter2" not in answer.body
    assert answer.all("x-request-id")


async def test_a_service_without_an_answer_is_a_bad_gateway(
    world: World, signed_in: tuple[str, str]
) -> None:
    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)

    world.generation.act = nothing
    assert (await world.ask("GET", TASKS, [signed_in])).status == 502


async def test_an_answer_that_breaks_off_is_not_ended_as_if_it_were_whole(
    world: World, signed_in: tuple[str, str]
) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the disk is gone")

    world.generation.act = half
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(BrokeOff):
        await world.app(http_scope("GET", TASKS, [signed_in]), receive, send)
    assert sent[-1] == {"type": "http.response.body", "body": b"half", "more_body": True}


async def test_an_error_that_breaks_off_is_a_bad_gateway(
    world: World, signed_in: tuple[str, str]
) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        raise RuntimeError("the disk is gone")

    world.generation.act = half
    assert (await world.ask("GET", TASKS, [signed_in])).status == 502


async def test_takes_nothing_new_while_not_ready(world: World, signed_in: tuple[str, str]) -> None:
    world.ready = False
    for path in (TASKS, "/readyz", "/openapi.json"):
        answer = await world.ask("GET", path, [signed_in])
        assert (answer.status, answer.code) == (503, "not_ready")
        assert answer.one("retry-after") == "1"
    assert (await world.ask("GET", "/livez")).json == {"status": "alive"}
    world.ready = True
    assert (await world.ask("GET", "/readyz")).json == {"status": "ready"}


async def test_each_request_is_one_line_of_the_log(
    world: World, signed_in: tuple[str, str]
) -> None:
    with capture_logs() as logs:
        await world.ask("GET", TASKS, [signed_in], query="token=secret")
        await world.ask("GET", "/nothing")
        await world.ask("GET", "/../x")
    assert [(line["event"], line["method"], line["path"], line["status"]) for line in logs] == [
        ("request", "GET", TASKS, 200),
        ("request", "GET", "/nothing", 404),
        ("request", "GET", "/../x", 400),
    ]
    assert all(line["duration_ms"] >= 0 for line in logs)


async def test_speaks_the_lifespan_protocol(world: World) -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await world.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_two_requests_do_not_share_anything(world: World) -> None:
    first, second = world.token(), world.token()
    answers = await asyncio.gather(
        *(ask(world.app, "GET", TASKS, [bearer(token)]) for token in (first, second) * 10)
    )
    assert len({answer.one("x-request-id") for answer in answers}) == 20
    callers = {
        world.internal_tokens.read(dict(scope["headers"])[b"x-internal-token"].decode()).user_id
        for scope in world.generation.scopes
    }
    assert len(callers) == 2


@pytest.mark.parametrize("base", ["/api/v2/storage/files/", "/v2/storage/files/"])
@pytest.mark.parametrize(
    "key",
    [
        *("..", "../x", "uploads/../x", "uploads/%2e%2e/x", ".%2E/x", "uploads//x", "x%2fy"),
        *("x%5cy", "x;a=b", "x%00", "x%zz", "x%ff", "%2e", "x%0d%0aA:b"),
    ],
)
async def test_a_key_that_is_not_in_its_plain_form_is_of_no_file(
    world: World, base: str, key: str
) -> None:
    answers = [
        await world.ask(method, base + key, [api_key(world.key())]) for method in ("GET", "DELETE")
    ]
    assert [(answer.status, answer.code) for answer in answers] == [(404, "file_not_found")] * 2
    assert world.storage.scopes == []
