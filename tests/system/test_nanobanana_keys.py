"""Seed 004, priorities 1A and 1C: each row of its acceptance lists for keys, over HTTP."""

import hashlib
import re
from collections.abc import Iterator

import httpx
import pytest

from kernel.clock import new_id
from tests.system.product import Product

KEY = re.compile(r"nb_live_[0-9a-f]{32}")
PASSWORD = "testpass123"


@pytest.fixture
def owner(product: Product) -> Iterator[httpx.Client]:
    """Somebody who has just registered, and is signed in by it."""
    with signed_up(product) as client:
        yield client


def signed_up(product: Product) -> httpx.Client:
    credentials = {"email": f"{new_id().hex}@example.com", "password": PASSWORD}
    with product.client() as anonymous:
        answer = anonymous.post("/v1/auth/register", json=credentials)
    assert answer.status_code == 201, answer.text
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "user"}
    assert answer.json()["user"]["email"] == credentials["email"]
    return product.client(Authorization=f"Bearer {answer.json()['access_token']}")


def test_registering_and_signing_in_answer_alike(product: Product) -> None:
    credentials = {"email": f"{new_id().hex}@example.com", "password": PASSWORD}
    with product.client() as anonymous:
        registered = anonymous.post("/v1/auth/register", json=credentials)
        signed_in = anonymous.post("/v1/auth/login", json=credentials)
    assert (registered.status_code, signed_in.status_code) == (201, 200)
    assert registered.json().keys() == signed_in.json().keys()


def test_a_valid_jwt_creates_a_key_and_gets_its_full_string(owner: httpx.Client) -> None:
    answer = owner.post("/v1/keys", json={"name": "My Test Key"})
    assert answer.status_code == 201
    assert answer.json().keys() == {"id", "key", "name", "prefix", "created_at"}
    assert answer.json()["name"] == "My Test Key"
    assert answer.json()["prefix"] == "nb_live_"


def test_the_format_of_a_key_is_nb_live_and_32_hex_digits(owner: httpx.Client) -> None:
    key = owner.post("/v1/keys").json()["key"]
    assert KEY.fullmatch(key)
    assert len(key) == 40


def test_the_full_key_is_returned_on_creation_alone(owner: httpx.Client) -> None:
    made = owner.post("/v1/keys", headers={"Idempotency-Key": "once"}).json()
    repeated = owner.post("/v1/keys", headers={"Idempotency-Key": "once"})
    assert repeated.json() == made | {"key": None}
    for path in ("/v1/keys", "/api/keys", f"/api/keys/{made['id']}"):
        answer = owner.get(path)
        assert answer.status_code == 200
        assert made["id"] in answer.text
        assert made["key"][8:] not in answer.text


def test_a_list_without_keys_is_empty(owner: httpx.Client) -> None:
    assert owner.get("/v1/keys").json() == {"keys": [], "next_cursor": None}


def test_the_list_shows_the_prefix_not_the_full_key(owner: httpx.Client) -> None:
    made = owner.post("/v1/keys", json={"name": "one"}).json()
    (listed,) = owner.get("/v1/keys").json()["keys"]
    assert listed == {
        "id": made["id"],
        "name": "one",
        "prefix": "nb_live_",
        "is_active": True,
        "last_used_at": None,
        "created_at": made["created_at"],
    }


def test_deleting_makes_a_key_inactive(owner: httpx.Client) -> None:
    made = owner.post("/v1/keys").json()
    answer = owner.delete(f"/v1/keys/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    (listed,) = owner.get("/v1/keys").json()["keys"]
    assert listed["is_active"] is False


def test_a_deleted_key_opens_nothing(product: Product, owner: httpx.Client) -> None:
    made = owner.post("/v1/keys").json()
    with product.client(Authorization=f"Bearer {made['key']}") as holder:
        assert holder.get("/api/v2/generation/credits").status_code == 200
        owner.delete(f"/v1/keys/{made['id']}")
        assert holder.get("/api/v2/generation/credits").status_code == 401


def test_the_hash_of_a_key_is_sha_256_and_all_that_is_stored(
    product: Product, owner: httpx.Client
) -> None:
    made = owner.post("/v1/keys").json()
    sha256 = hashlib.sha256(made["key"].encode()).digest()
    rows = product.rows(
        "SELECT key_id FROM keys_read.api_key_versions WHERE key_sha256 = $1", sha256
    )
    assert [f"key_{row['key_id'].hex}" for row in rows] == [made["id"]]


@pytest.mark.parametrize("token", [None, "eyJhbGciOiJub25lIn0.e30.", "not.a.token"])
def test_an_invalid_jwt_is_401(product: Product, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with product.client(**headers) as client:
        for method, path in (("POST", "/v1/keys"), ("GET", "/v1/keys"), ("DELETE", "/v1/keys/1")):
            answer = client.request(method, path)
            assert answer.status_code == 401
            assert answer.json().keys() == {"detail"}
            assert answer.headers["www-authenticate"]


def test_an_api_key_manages_no_keys_here(product: Product, owner: httpx.Client) -> None:
    key = owner.post("/v1/keys").json()["key"]
    with product.client(Authorization=f"Bearer {key}") as holder:
        assert holder.get("/v1/keys").status_code == 401


def test_another_users_key_is_404(product: Product, owner: httpx.Client) -> None:
    made = owner.post("/v1/keys").json()
    with signed_up(product) as other:
        answer = other.delete(f"/v1/keys/{made['id']}")
        assert other.get("/v1/keys").json()["keys"] == []
    assert (answer.status_code, answer.json().keys()) == (404, {"detail"})
    (listed,) = owner.get("/v1/keys").json()["keys"]
    assert listed["is_active"] is True


@pytest.mark.parametrize("body", [{"name": ""}, {"name": " "}, {"name": "x" * 101}, {"name": 1}])
def test_a_wrong_name_is_422_and_named(owner: httpx.Client, body: dict[str, object]) -> None:
    answer = owner.post("/v1/keys", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("name")
    assert owner.get("/v1/keys").json()["keys"] == []
