from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import httpx
import jwt
import pytest
import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from kernel import errors
from kernel.clock import new_id
from kernel.http import Caller, Identity, InternalTokens, create_app
from kernel.http.identity import ALGORITHM, AUDIENCE, HEADER, LIFETIME
from kernel.testing import FakeClock

SECRET = b"a secret of tests, and of nothing else"
CANARY = "canary0123456789"


class Options(BaseModel):
    count: int = Field(ge=1, le=4)


class Body(BaseModel):
    name: str
    options: Options


def routes(ready: list[bool]) -> APIRouter:
    router = APIRouter()

    @router.post("/things")
    async def make(body: Body) -> dict[str, str]:
        return {"name": body.name}

    @router.get("/things")
    async def find(limit: Annotated[int, Query(ge=1)] = 1) -> dict[str, int]:
        return {"limit": limit}

    @router.get("/refused/{kind}")
    async def refuse(kind: str) -> None:
        raise getattr(errors, kind)("its_code", "Its words.", {"a": 1}, retry_after_s=7)

    @router.get("/away")
    async def away() -> None:
        raise asyncpg.ConnectionDoesNotExistError

    @router.get("/broken")
    async def break_down() -> None:
        raise RuntimeError(f"password={CANARY}")

    @router.get("/me")
    async def me(caller: Caller) -> dict[str, str]:
        return {"user_id": str(caller.user_id)}

    return router


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tokens(clock: FakeClock) -> InternalTokens:
    return InternalTokens(SECRET, clock)


@pytest.fixture
def ready() -> list[bool]:
    return [True]


@pytest.fixture
async def client(tokens: InternalTokens, ready: list[bool]) -> AsyncIterator[httpx.AsyncClient]:
    async def is_ready() -> bool:
        return ready[0]

    app = create_app("test", [routes(ready)], internal_tokens=tokens, ready=is_ready)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        yield client


def identity(**changes: Any) -> Identity:
    given: dict[str, Any] = {
        "user_id": new_id(),
        "account_id": new_id(),
        "role": "user",
        "plan": "free",
        "scopes": frozenset({"generate"}),
    }
    return Identity(**(given | changes))


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
REFUSALS = [kind for kind in KINDS if issubclass(kind, errors.Error) and kind is not errors.Error]


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refusal_is_told_in_one_shape(
    client: httpx.AsyncClient, kind: type[errors.Error]
) -> None:
    answer = await client.get(f"/refused/{kind.__name__}")
    assert answer.status_code == kind.status
    assert answer.json() == {"error": "its_code", "message": "Its words.", "details": {"a": 1}}
    assert answer.headers["retry-after"] == "7"


def test_each_refusal_has_a_status_of_its_own() -> None:
    assert len({kind.status for kind in REFUSALS}) == len(REFUSALS) == 13


async def test_a_401_names_its_challenge(client: httpx.AsyncClient) -> None:
    answer = await client.get("/refused/Unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert "www-authenticate" not in (await client.get("/refused/Forbidden")).headers


async def test_a_fault_tells_nothing_but_its_id(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs():
        answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["error"] == "internal_error"
    assert CANARY not in answer.text
    assert "Runtime" not in answer.text
    assert answer.headers["x-request-id"]


async def test_a_database_that_is_away_is_a_503(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs():
        answer = await client.get("/away")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_a_fault_is_logged_under_its_id(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as logs:
        await client.get("/broken")
    (failed,) = (line for line in logs if line["event"] == "request_failed")
    assert (failed["path"], failed["log_level"]) == ("/broken", "error")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"options": {"count": 1}}, "name"),
        ({"name": "a", "options": {"count": 9}}, "options.count"),
        ({"name": "a", "options": {"count": "x"}}, "options.count"),
        ({"name": "a"}, "options"),
        ([], "body"),
    ],
)
async def test_a_wrong_body_is_answered_with_the_field(
    client: httpx.AsyncClient, body: object, field: str
) -> None:
    answer = await client.post("/things", json=body)
    assert answer.status_code == 422
    said = answer.json()
    assert said["error"] == "invalid_request"
    assert said["details"]["fields"][0]["field"] == field
    assert said["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"name": "\\ud800", "options": {"count": 1}}', "name"),
        (b'{"name": "a", "options": {"count": "\\uDFFF"}}', "options.count"),
        (b'{"name": "a", "options": [1, "x\\ud83d"]}', "options.1"),
        (b'{"\\ud800": 1}', "body"),
        (b'"\\udc00"', "body"),
    ],
)
async def test_half_a_character_is_refused_with_the_field(
    client: httpx.AsyncClient, content: bytes, field: str
) -> None:
    answer = await client.post(
        "/things", content=content, headers={"content-type": "application/json"}
    )
    said = answer.json()
    assert (answer.status_code, said["error"]) == (422, "invalid_request")
    assert said["details"]["fields"][0]["field"] == field


async def test_a_whole_character_in_two_escapes_is_text(client: httpx.AsyncClient) -> None:
    content = b'{"name": "\\ud83d\\ude00", "options": {"count": 1}}'
    answer = await client.post(
        "/things", content=content, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()) == (200, {"name": "\N{GRINNING FACE}"})


async def test_a_wrong_query_is_answered_with_the_field(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things?limit=0")
    assert (answer.status_code, answer.json()["details"]["fields"][0]["field"]) == (422, "limit")


async def test_what_is_refused_is_not_repeated(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", json={"name": [CANARY], "options": CANARY})
    assert answer.status_code == 422
    assert CANARY not in answer.text


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b'{"name": "a",}', b"NaN{"])
async def test_a_body_that_is_not_json_is_the_clients_fault(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answer = await client.post(
        "/things", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "message", "details"}


async def test_broken_json_is_refused_as_the_body(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/things", content=b"{", headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/json;a=b", None]
)
async def test_json_is_taken_and_so_is_what_says_nothing(
    client: httpx.AsyncClient, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    content = b'{"name": "a", "options": {"count": 1}}'
    answer = await client.post("/things", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"name": "a"})


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json"]
)
async def test_other_media_are_refused(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/things", content=b"x", headers={"content-type": kind})
    assert answer.status_code == 415
    assert answer.json()["error"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/files/a.png", 404), ("PUT", "/things", 415), ("POST", "/files/a.png", 415)],
)
async def test_a_file_of_any_type_may_be_put_where_files_are_alone(
    tokens: InternalTokens, method: str, path: str, status: int
) -> None:
    async def is_ready() -> bool:
        return True

    app = create_app("test", [], internal_tokens=tokens, ready=is_ready, files_put_under="/files/")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        answer = await client.request(
            method, path, content=b"x", headers={"content-type": "image/png"}
        )
    assert answer.status_code == status
    assert answer.headers["x-request-id"]


async def test_what_is_not_there_and_what_is_not_allowed_have_the_same_shape(
    client: httpx.AsyncClient,
) -> None:
    missing, method = await client.get("/nowhere"), await client.delete("/things")
    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
    assert (method.status_code, method.json()["error"]) == (405, "method_not_allowed")
    assert method.headers["allow"]


async def test_a_well_formed_request_id_is_kept_and_sent_once(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things", headers={"x-request-id": "client-0001"})
    assert answer.headers.get_list("x-request-id") == ["client-0001"]


@pytest.mark.parametrize("given", [None, "short", "with space and more", "x" * 200])
async def test_any_other_request_id_is_replaced(
    client: httpx.AsyncClient, given: str | None
) -> None:
    answer = await client.get("/things", headers={} if given is None else {"x-request-id": given})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_it_lives_even_when_it_is_not_ready(
    client: httpx.AsyncClient, ready: list[bool]
) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    ready[0] = False
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await client.get("/livez")).status_code == 200


async def test_a_caller_is_who_its_token_says(
    client: httpx.AsyncClient, tokens: InternalTokens
) -> None:
    caller = identity()
    answer = await client.get("/me", headers={HEADER: tokens.mint(caller)})
    assert answer.json() == {"user_id": str(caller.user_id)}


def test_a_token_keeps_everything_that_is_known_of_the_caller(tokens: InternalTokens) -> None:
    for caller in (
        identity(),
        identity(session_id=UUID(int=6)),
        identity(key_id=UUID(int=5), monthly_credit_limit_units=0),
    ):
        assert tokens.read(tokens.mint(caller)) == caller


def claims(clock: FakeClock, **changes: Any) -> dict[str, Any]:
    return {
        "aud": AUDIENCE,
        "exp": clock.now() + LIFETIME,
        "sub": str(UUID(int=1)),
        "acc": str(UUID(int=1)),
        "role": "admin",
        "plan": "free",
        "scp": [],
        "key": None,
        "mcl": None,
    } | changes


async def test_anything_but_a_token_of_ours_is_unauthenticated(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    forged = [
        jwt.encode(claims(clock), b"another secret, just as long as it must be", ALGORITHM),
        jwt.encode(claims(clock, aud="smartspec-api"), SECRET, ALGORITHM),
        jwt.encode(claims(clock), "", "none"),
        "nonsense",
        "",
        f"Bearer {CANARY}",
    ]
    for token in forged:
        answer = await client.get("/me", headers={HEADER: token})
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")
    assert (await client.get("/me")).status_code == 401
    assert (await client.get("/me", headers={"x-user-id": str(UUID(int=1))})).status_code == 401


@pytest.mark.parametrize("missing", ["exp", "aud", "sub", "acc", "role"])
def test_a_token_without_a_claim_is_refused(
    tokens: InternalTokens, clock: FakeClock, missing: str
) -> None:
    given = claims(clock)
    del given[missing]
    with pytest.raises(errors.Unauthenticated):
        tokens.read(jwt.encode(given, SECRET, ALGORITHM))


def test_a_token_lives_for_its_time_and_no_longer(tokens: InternalTokens, clock: FakeClock) -> None:
    token = tokens.mint(identity())
    clock.turn(LIFETIME - timedelta(seconds=1, microseconds=1))
    tokens.read(token)
    clock.turn(timedelta(seconds=1, microseconds=1))
    with pytest.raises(errors.Unauthenticated):
        tokens.read(token)


def test_a_scope_is_required_of_everyone_but_an_admin() -> None:
    identity().require("generate")
    identity(role="admin", scopes=frozenset()).require("credits:grant")
    with pytest.raises(errors.Forbidden) as refused:
        identity().require("credits:grant")
    assert refused.value.details == {"required_scope": "credits:grant"}
