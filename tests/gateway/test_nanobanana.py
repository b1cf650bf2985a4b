"""NanoBanana's words at the edge, over a keys that was written for the test."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from kernel.clock import new_id
from tests.gateway.driving import Answer, World, bearer, read_all, respond

KEY_ID = f"key_{new_id().hex}"
MADE = {
    "id": KEY_ID,
    "api_key": "nb_live_0123456789abcdef0123456789abcdef",
    "name": "API key",
    "prefix": "nb_live_0123",
    "created_at": "2026-11-24T09:30:00Z",
}
LISTED = {
    "id": KEY_ID,
    "name": "a name",
    "prefix": "nb_live_0123",
    "is_active": False,
    "last_used_at": "2026-11-24T09:31:00Z",
    "created_at": "2026-11-24T09:30:00Z",
    "scopes": ["credits:read"],
}
SIGNED_IN = {
    "access_token": "eyJ",
    "refresh_token": "rt_",
    "token_type": "bearer",
    "expires_in": 1800,
    "user": {"id": "user_1", "email": "a@example.com", "full_name": None, "role": "user"},
}
CREDENTIALS = {"email": "a@example.com", "password": "long enough"}


class Native:
    """What keys was asked, and what it says to each path."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[int, Any]] = {
            "POST /auth/register": (201, {"success": True, "data": {}}),
            "POST /auth/login": (200, {"success": True, "data": SIGNED_IN}),
            "POST /api/keys": (201, MADE),
            "GET /api/keys": (200, {"success": True, "keys": [LISTED], "next_cursor": "key_2"}),
            f"POST /api/keys/{KEY_ID}/revoke": (200, {"success": True, "key": {}}),
        }
        self.headers: list[tuple[bytes, bytes]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.sent: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_all(receive)
        what = f"{scope['method']} {scope['path']}"
        self.asked.append((what, scope["query_string"].decode(), json.loads(body or b"null")))
        self.sent = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, answer = self.said[what]
        await respond(send, status, self.headers, json.dumps(answer).encode())


@pytest.fixture
def native(world: World) -> Native:
    world.keys.act = native = Native()
    return native


async def ask(
    world: World, method: str, path: str, body: Any = None, query: str = "", **headers: str
) -> Answer:
    sent = [
        bearer(world.token()),
        *((name.replace("_", "-"), text) for name, text in headers.items()),
    ]
    chunks = [] if body is None else [json.dumps(body).encode()]
    return await world.ask(method, path, sent, chunks, query=query)


def refusal(status: int, code: str, details: Mapping[str, object]) -> tuple[int, Any]:
    return status, {"error": code, "message": "Not so.", "details": details}


async def test_a_new_key_is_shown_whole_with_the_prefix_of_its_kind(
    world: World, native: Native
) -> None:
    answer = await ask(world, "POST", "/v1/keys")
    assert answer.status == 201
    assert answer.json == {
        "id": KEY_ID,
        "key": MADE["api_key"],
        "name": "API key",
        "prefix": "nb_live_",
        "created_at": "2026-11-24T09:30:00Z",
    }
    assert answer.one("cache-control") == "no-store"
    scopes = ["generation:create", "generation:read", "credits:read"]
    asked = {"name": "API key", "scopes": scopes, "format": "nb_live"}
    assert native.asked == [("POST /api/keys", "", asked)]


async def test_a_key_has_the_name_that_it_is_given(world: World, native: Native) -> None:
    await ask(world, "POST", "/v1/keys", {"name": "of my app"})
    assert native.asked[0][2]["name"] == "of my app"


async def test_a_repeated_creation_says_that_it_is_one(world: World, native: Native) -> None:
    native.said["POST /api/keys"] = (201, MADE | {"api_key": None})
    native.headers = [(b"idempotency-replayed", b"true")]
    answer = await ask(world, "POST", "/v1/keys", {"name": "one"}, Idempotency_Key="one")
    assert native.sent["idempotency-key"] == "one"
    assert (answer.json["key"], answer.one("idempotency-replayed")) == (None, "true")


async def test_the_list_shows_no_more_than_the_seed_names(world: World, native: Native) -> None:
    answer = await ask(world, "GET", "/v1/keys", query="limit=1")
    assert native.asked == [("GET /api/keys", "format=nb_live&limit=1", None)]
    assert answer.json == {
        "keys": [
            {
                "id": KEY_ID,
                "name": "a name",
                "prefix": "nb_live_",
                "is_active": False,
                "last_used_at": "2026-11-24T09:31:00Z",
                "created_at": "2026-11-24T09:30:00Z",
            }
        ],
        "next_cursor": "key_2",
    }


async def test_deleting_revokes_and_says_nothing(world: World, native: Native) -> None:
    answer = await ask(world, "DELETE", f"/v1/keys/{KEY_ID}")
    assert (answer.status, answer.body) == (204, b"")
    assert not answer.all("content-length")
    assert native.asked == [(f"POST /api/keys/{KEY_ID}/revoke", "", None)]


async def test_registering_signs_in_at_once(world: World, native: Native) -> None:
    answer = await ask(world, "POST", "/v1/auth/register", CREDENTIALS | {"full_name": "A"})
    assert answer.status == 201
    assert answer.json == {
        "access_token": "eyJ",
        "token_type": "bearer",
        "expires_in": 1800,
        "user": {"id": "user_1", "email": "a@example.com", "full_name": None},
    }
    assert [(what, body) for what, _, body in native.asked] == [
        ("POST /auth/register", CREDENTIALS | {"full_name": "A"}),
        ("POST /auth/login", CREDENTIALS),
    ]


async def test_a_refusal_of_the_first_question_asks_no_second(world: World, native: Native) -> None:
    native.said["POST /auth/register"] = refusal(409, "email_taken", {})
    answer = await ask(world, "POST", "/v1/auth/register", CREDENTIALS)
    assert (answer.status, answer.json) == (409, {"detail": "Not so."})
    assert len(native.asked) == 1


async def test_a_wrong_password_is_told_with_its_challenge(world: World, native: Native) -> None:
    native.said["POST /auth/login"] = refusal(401, "invalid_credentials", {})
    answer = await ask(world, "POST", "/v1/auth/login", CREDENTIALS)
    assert (answer.status, answer.json) == (401, {"detail": "Not so."})
    assert answer.one("www-authenticate").startswith("Bearer")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/auth/login", {"email": "a@example.com"}, "password"),
        ("/v1/auth/login", CREDENTIALS | {"more": 1}, "more"),
        ("/v1/auth/register", CREDENTIALS | {"full_name": 1}, "full_name"),
        ("/v1/keys", {"name": 1}, "name"),
        ("/v1/keys", {"scopes": ["admin"]}, "scopes"),
        ("/v1/keys", [], "body"),
    ],
)
async def test_a_malformed_body_names_the_field_and_asks_nobody(
    world: World, native: Native, path: str, body: Any, field: str
) -> None:
    answer = await ask(world, "POST", path, body)
    assert answer.status == 422
    assert answer.json.keys() == {"detail"}
    assert answer.json["detail"].startswith(f"{field}: ")
    assert "long enough" not in answer.json["detail"]
    assert native.asked == []


async def test_the_services_words_on_a_field_are_passed_on(world: World, native: Native) -> None:
    native.said["POST /api/keys"] = refusal(422, "invalid_request", {"field": "name"})
    answer = await ask(world, "POST", "/v1/keys", {"name": " "})
    assert (answer.status, answer.json) == (422, {"detail": "name: Not so."})


async def test_a_service_that_says_something_else_is_a_bad_gateway(
    world: World, native: Native
) -> None:
    native.said["POST /api/keys"] = (201, {"hunter2": 1})
    answer = await ask(world, "POST", "/v1/keys")
    assert answer.status == 502
    assert "hunter2" not in answer.body.decode()


async def test_a_body_over_the_limit_is_refused_unread(world: World, native: Native) -> None:
    answer = await world.ask("POST", "/v1/keys", [bearer(world.token())], [b"x" * 2**20, b"x"])
    assert answer.status == 413
    assert answer.json.keys() == {"detail"}
    assert native.asked == []


async def test_the_document_describes_each_translated_route(world: World) -> None:
    document = (await world.ask("GET", "/openapi.json")).json
    create = document["paths"]["/v1/keys"]["post"]
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert "201" in create["responses"]
    assert document["paths"]["/v1/keys/{key_id}"]["delete"]["parameters"][0]["name"] == "key_id"
