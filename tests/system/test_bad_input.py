import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from kernel.clock import new_id
from tests.system.product import V2, Product, User, new_key, new_user

GENERATE = f"{V2}/generate"
GOOD = {"model_id": "nano-banana-pro", "prompt": "[[sim:canned]] a fig"}
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
MIB = 1_048_576


@dataclass(frozen=True)
class Bad:
    """A request that is refused, and how."""

    status: int
    code: str
    named: str | None = None
    path: str = GENERATE
    method: str = "POST"
    body: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def but(**changes: object) -> dict[str, object]:
    return {**GOOD, **changes}


BAD = {
    "a missing prompt": Bad(422, "invalid_request", "prompt", body={"model_id": "flux-2"}),
    "a missing model": Bad(422, "invalid_request", "model_id", body={"prompt": "a fig"}),
    "an empty prompt": Bad(422, "invalid_request", "prompt", body=but(prompt="")),
    "a blank prompt": Bad(422, "invalid_request", "prompt", body=but(prompt=" \t\n ")),
    "a huge prompt": Bad(422, "invalid_request", "prompt", body=but(prompt="x" * 10_001)),
    "a prompt that is a number": Bad(422, "invalid_request", "prompt", body=but(prompt=7)),
    "an unknown model": Bad(404, "model_not_found", "model_id", body=but(model_id="none")),
    "an unknown field": Bad(422, "invalid_request", "colour", body=but(colour="red")),
    "an unknown option": Bad(
        422, "invalid_option", "options.steps", body=but(options={"steps": 4})
    ),
    "too many images": Bad(
        422, "invalid_option", "options.num_images", body=but(options={"num_images": 5})
    ),
    "a resolution that is none": Bad(
        422, "invalid_option", "options.resolution", body=but(options={"resolution": "big"})
    ),
    "a resolution that contradicts the aspect ratio": Bad(
        422,
        "invalid_option",
        "options.resolution",
        body=but(options={"resolution": "1024x576", "aspect_ratio": "1:1"}),
    ),
    "a resolution that contradicts the quality": Bad(
        422,
        "invalid_option",
        "options.quality",
        body=but(options={"resolution": "1024x576", "quality": "standard"}),
    ),
    "metadata with too many pairs": Bad(
        422,
        "invalid_request",
        "metadata",
        body=but(metadata={str(number): "x" for number in range(17)}),
    ),
    "a body of another type": Bad(
        415,
        "unsupported_media_type",
        content=b"<prompt/>",
        headers={"Content-Type": "application/xml"},
    ),
    "a body that is no JSON": Bad(
        422,
        "invalid_request",
        "body",
        content=b'{"model_id": ',
        headers={"Content-Type": "application/json"},
    ),
    "a body that is a list": Bad(422, "invalid_request", body=[GOOD]),
    "a body over 1 MiB": Bad(413, "too_large", body=but(prompt="x" * MIB)),
    "an Idempotency-Key that can't be printed": Bad(
        422,
        "invalid_idempotency_key",
        "Idempotency-Key",
        body=GOOD,
        headers={"Idempotency-Key": "k" * 256},
    ),
    "both credentials": Bad(
        400, "ambiguous_credentials", body=GOOD, headers={"Authorization": "Bearer sk_live_x"}
    ),
    "an unknown key": Bad(
        401, "invalid_api_key", body=GOOD, headers={"X-API-Key": "sk_live_" + "0" * 49}
    ),
    "a key that can be none": Bad(
        401, "invalid_api_key", body=GOOD, headers={"X-API-Key": "'; --"}
    ),
    "a route that asks for another scope": Bad(
        403, "access_denied", path="/api/keys", method="GET"
    ),
    "a key where a sign-in is asked for": Bad(401, "HTTP_401", path="/auth/me", method="GET"),
    "an unknown task": Bad(
        404, "task_not_found", path=f"{V2}/tasks/task_{new_id().hex}", method="GET"
    ),
    "a task id that is none": Bad(404, "task_not_found", path=f"{V2}/tasks/7", method="GET"),
    "a task id of another kind": Bad(
        404, "task_not_found", path=f"{V2}/tasks/key_{new_id().hex}", method="DELETE"
    ),
    "a path that climbs": Bad(400, "invalid_path", path=f"{V2}/tasks/%2e%2e/credits", method="GET"),
    "an unknown path": Bad(404, "not_found", path="/api/v2/nothing", method="GET"),
    "another method": Bad(405, "method_not_allowed", method="PUT", body=GOOD),
    "a wait that is too long": Bad(
        422, "invalid_request", "timeout", path=f"{V2}/tasks/7/wait?timeout=121", method="GET"
    ),
    "a cursor that is none": Bad(
        422, "invalid_cursor", "cursor", path=f"{V2}/tasks?cursor=x", method="GET"
    ),
    "a moment that is none": Bad(
        422, "invalid_request", "as_of", path=f"{V2}/credits?as_of=yesterday", method="GET"
    ),
    "a moment to come": Bad(
        422,
        "invalid_request",
        "as_of",
        path=f"{V2}/credits/history.csv?as_of=2100-01-01T00:00:00Z",
        method="GET",
    ),
    "a cursor of another list": Bad(
        422, "invalid_cursor", "cursor", path=f"{V2}/usage?cursor=7", method="GET"
    ),
    "a range that ends before it begins": Bad(
        422,
        "invalid_request",
        "since",
        path=f"{V2}/usage?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z",
        method="GET",
    ),
    "a key where somebody redeems": Bad(
        401, "access_token_required", path=f"{V2}/credits/redeem", body={"code": "x"}
    ),
    "a key where an admin posts": Bad(
        401, "access_token_required", path="/api/admin/credits/grants", body={"amount": 1}
    ),
    "a page that is too large": Bad(
        422, "invalid_request", "limit", path=f"{V2}/tasks?limit=101", method="GET"
    ),
}


@pytest.fixture(scope="module")
def sender(product: Product) -> Iterator[User]:
    """Whose balance and list must stay as they are, whatever is sent."""
    with new_user(product) as user:
        yield user


def send(client: httpx.Client, bad: Bad) -> httpx.Response:
    return client.request(
        bad.method, bad.path, json=bad.body, content=bad.content, headers=bad.headers
    )


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_refuses(sender: User, bad: Bad) -> None:
    before = sender.balance(), sender.tasks()

    answer = send(sender.client, bad)

    assert answer.status_code == bad.status, answer.text
    assert REQUEST_ID.fullmatch(answer.headers["X-Request-ID"])
    assert answer.headers["Content-Type"] == "application/json"
    said = answer.json()
    if bad.path.startswith("/auth"):
        assert said.keys() == {"success", "error"}
        assert said["error"]["code"] == bad.code
    else:
        assert said.keys() == {"error", "message", "details"}
        assert said["error"] == bad.code
        assert said["message"]
    if bad.named is not None:
        assert bad.named in named_fields(said["details"])
    assert (answer.status_code == 401) == ("WWW-Authenticate" in answer.headers)
    assert (sender.balance(), sender.tasks()) == before


def named_fields(details: dict[str, Any]) -> set[str]:
    one = {details["field"]} if "field" in details else set()
    return one | {item["field"] for item in details.get("fields", [])}


def test_refuses_whoever_shows_no_credential_and_says_how_to(product: Product) -> None:
    with product.client() as anonymous:
        answer = anonymous.post(GENERATE, json=GOOD)
    assert answer.status_code == 401
    assert answer.json()["error"] == "missing_credentials"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_refuses_a_key_without_the_scope_and_names_the_scope(
    product: Product, sender: User
) -> None:
    reader = new_key(product, sender.token, ("generation:read",))
    before = sender.balance(), sender.tasks()
    with product.client(**{"X-API-Key": reader}) as client:
        answer = client.post(GENERATE, json=GOOD)
    assert answer.status_code == 403
    assert answer.json()["error"] == "access_denied"
    assert answer.json()["details"] == {"required_scope": "generation:create"}
    assert (sender.balance(), sender.tasks()) == before


def test_hides_a_task_from_everybody_but_its_owner(product: Product, user: User) -> None:
    task_id = user.wait(user.generate("[[sim:canned]] mine")["id"])["id"]
    with new_user(product) as stranger:
        for method, path in (("GET", ""), ("GET", "/wait?timeout=1"), ("DELETE", "")):
            theirs = stranger.client.request(method, f"{V2}/tasks/{task_id}{path}")
            nobodys = stranger.client.request(method, f"{V2}/tasks/task_{new_id().hex}{path}")
            assert theirs.status_code == nobodys.status_code == 404
            assert theirs.json() == nobodys.json()
        assert stranger.tasks() == []
    assert [task["id"] for task in user.tasks()] == [task_id]


def test_answers_a_repeated_idempotency_key_with_the_first_answer_again(user: User) -> None:
    headers = {"Idempotency-Key": new_id().hex}
    first, again = (user.client.post(GENERATE, json=GOOD, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(user.tasks()) == 1


def test_refuses_another_body_under_a_used_idempotency_key(user: User) -> None:
    headers = {"Idempotency-Key": new_id().hex}
    user.client.post(GENERATE, json=GOOD, headers=headers).raise_for_status()
    other = user.client.post(GENERATE, json=but(prompt="a plum"), headers=headers)
    assert other.status_code == 422
    assert other.json()["error"] == "idempotency_mismatch"
    assert len(user.tasks()) == 1


def test_refuses_a_body_over_1_mib_before_it_has_been_sent(product: Product, sender: User) -> None:
    url = httpx.URL(product.url)
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: x\r\nX-API-Key: {sender.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {MIB + 1}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(head.encode() + b"{")
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_refuses_a_body_that_grows_over_1_mib_without_saying_so(sender: User) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"model_id": "nano-banana-pro", "prompt": "'
        for _ in range(17):
            yield b"x" * 65_536
        yield b'"}'

    before = sender.balance(), sender.tasks()
    answer = sender.client.post(
        GENERATE, content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["error"] == "too_large"
    assert (sender.balance(), sender.tasks()) == before


@pytest.mark.parametrize(
    ("path", "body", "status", "named"),
    [
        ("/auth/register", {"email": "a@b.example", "password": "short"}, 422, "password"),
        ("/auth/register", {"email": "no address", "password": "long enough"}, 422, "email"),
        ("/auth/login", {"email": "a@b.example"}, 422, "password"),
        ("/auth/login", {"email": "a@b.example", "password": "wrong words"}, 401, ""),
        ("/auth/nothing", {}, 404, ""),
    ],
)
def test_speaks_of_accounts_in_the_form_of_their_surface(
    product: Product, path: str, body: object, status: int, named: str
) -> None:
    with product.client() as anonymous:
        answer = anonymous.post(path, json=body)
    said = answer.json()
    assert (answer.status_code, said["success"]) == (status, False)
    assert said["error"]["code"] == f"HTTP_{status}"
    assert said["error"]["type"] == "HTTPException"
    assert named in said["error"]["message"]
    assert "X-Request-ID" in answer.headers


def test_refuses_to_register_an_address_twice(product: Product, user: User) -> None:
    with product.client() as anonymous:
        body = {"email": user.email.upper(), "password": "another password"}
        answer = anonymous.post("/auth/register", json=body)
    assert answer.status_code == 409
    assert json.loads(answer.content)["error"]["code"] == "HTTP_409"
