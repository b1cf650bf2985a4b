import re

import pytest

from tests.gateway.driving import World, bearer

TASKS = "/api/v2/generation/tasks"
GENERATE = "/api/v2/generation/generate"
LIMIT_HEADERS = {
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
}
ADDED = {"x-internal-token", "x-request-id", "traceparent", "x-client-address"}


async def test_only_known_headers_reach_a_service(world: World) -> None:
    passed = {
        "idempotency-key": "k-1",
        "content-type": "application/json",
        "accept": "*/*",
        "range": "bytes=0-1",
        "if-none-match": '"e"',
        "last-event-id": "7",
    }
    stripped = {
        "x-internal-token": "forged",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-user": "admin",
        "x-user-id": "admin",
        "x-real-ip": "127.0.0.1",
        "x-client-address": "127.0.0.1",
        "x-client-agent": "forged",
        "forwarded": "for=127.0.0.1",
        "cookie": "session=1",
        "connection": "keep-alive",
        "transfer-encoding": "chunked",
        "host": "evil",
    }
    credential = bearer(world.token())
    await world.ask("POST", GENERATE, [*passed.items(), *stripped.items(), credential])
    seen = world.generation.headers_seen
    assert {name: seen.get(name) for name in passed} == passed
    assert set(seen) - set(passed) == ADDED
    assert world.caller(world.generation).role == "user"


async def test_a_forged_identity_is_stripped_from_an_open_route_too(world: World) -> None:
    await world.ask("POST", "/auth/login", [("X-Internal-Token", "forged"), ("X-User-Id", "1")])
    assert set(world.keys.headers_seen) == ADDED
    assert world.caller(world.keys).role == "anonymous"


async def test_a_well_formed_request_id_is_kept_and_answered_once(
    world: World, signed_in: tuple[str, str]
) -> None:
    world.generation.headers = [(b"X-Request-ID", b"of-the-service")]
    answer = await world.ask("GET", TASKS, [signed_in, ("X-Request-ID", "client-1234")])
    assert answer.all("x-request-id") == ["client-1234"]
    assert world.generation.headers_seen["x-request-id"] == "client-1234"


@pytest.mark.parametrize("given", ["short", "x" * 129, "bad id with spaces", "a\r\nSet-Cookie: b"])
async def test_another_request_id_is_replaced(world: World, given: str) -> None:
    answer = await world.ask("GET", TASKS, [("X-Request-ID", given)])
    assert answer.one("x-request-id").startswith("req_")


async def test_a_trace_goes_on_when_it_is_well_formed(
    world: World, signed_in: tuple[str, str]
) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    await world.ask("GET", TASKS, [signed_in, ("traceparent", trace)])
    assert world.generation.headers_seen["traceparent"] == trace


@pytest.mark.parametrize("given", [[], [("traceparent", "forged")]])
async def test_a_request_without_a_trace_begins_one(
    world: World, signed_in: tuple[str, str], given: list[tuple[str, str]]
) -> None:
    await world.ask("GET", TASKS, [signed_in, *given])
    made = world.generation.headers_seen["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made)


async def test_headers_of_the_connection_and_inner_ones_stay_inside(
    world: World, signed_in: tuple[str, str]
) -> None:
    world.generation.headers = [
        (b"content-type", b"application/json"),
        (b"Connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"x-internal-token", b"secret"),
        (b"etag", b'"1"'),
    ]
    answer = await world.ask("GET", TASKS, [signed_in])
    names = {name.decode().lower() for name, _ in answer.headers}
    assert names == {"content-type", "etag", "x-request-id", *LIMIT_HEADERS}
