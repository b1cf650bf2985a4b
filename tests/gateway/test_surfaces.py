import json

import pytest

from services.gateway.api.exchange import ERROR_BYTES_MAX
from services.gateway.surfaces import Fault, surface_of
from tests.gateway.driving import World, bearer

TASKS = "/api/v2/generation/tasks"


def native(code: str, message: str, details: object) -> bytes:
    return json.dumps({"error": code, "message": message, "details": details}).encode()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/auth/login", "KlikyaiError"),
        ("/auth", "KlikyaiError"),
        ("/authors", "Error"),
        ("/api/keys", "Error"),
        ("/api/auth", "Error"),
        ("/", "Error"),
    ],
)
def test_a_surface_owns_a_first_word(path: str, name: str) -> None:
    assert surface_of(path).name == name


def test_klikyai_names_the_field_that_a_message_leaves_out() -> None:
    fault = Fault(422, "invalid_request", "too short", {"field": "password"})
    assert surface_of("/auth").render(fault)["error"] == {
        "code": "HTTP_422",
        "message": "password: too short",
        "type": "HTTPException",
    }


async def test_a_native_error_keeps_its_words_status_and_headers(world: World) -> None:
    world.generation.status = 429
    world.generation.headers = [
        (b"content-type", b"application/json"),
        (b"retry-after", b"7"),
        (b"content-length", b"999"),
        (b"x-request-id", b"another"),
    ]
    world.generation.body = native("rate_limited", "Slowly.", {"limit": 10})
    answer = await world.ask("GET", TASKS, [bearer(world.token())])
    assert answer.status == 429
    assert answer.json == {"error": "rate_limited", "message": "Slowly.", "details": {"limit": 10}}
    assert answer.one("retry-after") == "7"
    assert answer.one("content-length") == str(len(answer.body))
    assert answer.one("content-type") == "application/json"
    assert len(answer.all("x-request-id")) == 1


async def test_klikyai_hears_errors_in_its_form(world: World) -> None:
    world.keys.status, world.keys.body = 409, native("email_taken", "The address is known.", {})
    answer = await world.ask("POST", "/auth/register")
    assert answer.status == 409
    assert answer.json == {
        "success": False,
        "error": {
            "code": "HTTP_409",
            "message": "The address is known.",
            "type": "HTTPException",
        },
    }


async def test_klikyai_hears_every_field_of_a_malformed_body(world: World) -> None:
    fields = [
        {"field": "email", "message": "is missing"},
        {"field": "password", "message": "is too short"},
    ]
    world.keys.status = 422
    world.keys.body = native("invalid_request", "email: is missing", {"fields": fields})
    answer = await world.ask("POST", "/auth/register")
    assert answer.status == 422
    message = answer.json["error"]["message"]
    assert message == "email: is missing; password: is too short"


async def test_the_edges_own_refusals_have_the_form_of_the_surface(world: World) -> None:
    missing = await world.ask("GET", "/auth/me")
    assert (missing.status, missing.json["error"]["code"]) == (401, "HTTP_401")
    assert missing.all("www-authenticate")
    unknown = await world.ask("GET", "/auth/nothing")
    assert (unknown.status, unknown.json["success"]) == (404, False)
    tricky = await world.ask("GET", "/auth/../x")
    assert (tricky.status, tricky.json["success"]) == (400, False)


async def test_a_services_401_gets_its_challenge(world: World) -> None:
    world.keys.status, world.keys.body = 401, native("wrong_password", "No.", {})
    answer = await world.ask("POST", "/auth/login")
    assert answer.one("www-authenticate") == 'Bearer realm="smartspec"'


@pytest.mark.parametrize(
    "body",
    [
        b"Traceback (most recent call last): hunter2",
        b"",
        b'["hunter2"]',
        b'{"detail": "hunter2"}',
        b'{"error": {"hunter2": 1}, "message": "x"}',
        b"[" * 60_000,
        b'{"error":"hunter2","message":"' + b"x" * ERROR_BYTES_MAX + b'","details":{}}',
    ],
)
async def test_an_error_that_is_not_ours_says_its_status_alone(world: World, body: bytes) -> None:
    world.generation.status, world.generation.body = 500, body
    answer = await world.ask("GET", TASKS, [bearer(world.token())])
    assert answer.status == 500
    assert answer.json == {
        "error": "internal_error",
        "message": "Internal Server Error.",
        "details": {},
    }


async def test_an_error_to_head_has_no_body(world: World) -> None:
    world.storage.status, world.storage.body = 404, native("not_found", "None.", {})
    answer = await world.ask("HEAD", "/media/x.png")
    assert (answer.status, answer.body) == (404, b"")
    assert int(answer.one("content-length")) > 0


@pytest.mark.parametrize("status", [200, 201, 204, 206, 304])
async def test_an_answer_that_is_no_error_is_not_touched(world: World, status: int) -> None:
    world.storage.status, world.storage.body = status, b'{"error":"a word in a file"}'
    answer = await world.ask("GET", "/media/x.json")
    assert (answer.status, answer.body) == (status, b'{"error":"a word in a file"}')
