"""Accounts over HTTP, through the edge: sessions, mailed links, erasure, admins."""

import re
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernel.clock import new_id
from tests.system.product import PASSWORD, Product, User, log_in, new_key, wait_until

LINK = re.compile(r"^(\S+)/(verify-email|reset-password)#token=(\S+)$", re.MULTILINE)
NEW_PASSWORD = "another horse, another battery"


def register(product: Product, email: str | None = None) -> str:
    """Somebody's address."""
    email = email or f"user-{new_id().hex}@example.com"
    body = {"email": email, "password": PASSWORD}
    assert post(product, "/auth/register", body).status_code == 201
    return email


def post(product: Product, path: str, body: dict[str, Any], token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with product.client(**headers) as client:
        return client.post(path, json=body)


def me(product: Product, token: str) -> httpx.Response:
    with product.client(Authorization=f"Bearer {token}") as client:
        return client.get("/auth/me")


def sign_in(product: Product, email: str, password: str = PASSWORD) -> dict[str, Any]:
    answer = post(product, "/auth/login", {"email": email, "password": password})
    return dict(answer.raise_for_status().json()["data"])


def refused(answer: httpx.Response, status: int) -> bool:
    """In the form of `/auth`."""
    fault = answer.json()
    return (answer.status_code, fault["success"], fault["error"]["code"]) == (
        status,
        False,
        f"HTTP_{status}",
    )


def mailed(product: Product, email: str, what: str) -> str:
    """The token of the link to `what` that was mailed to `email`, as soon as it is there."""
    found: list[str] = []

    def there() -> bool:
        for path in sorted((product.home / "mail").glob("*.eml"), reverse=True):
            assert path.stat().st_mode & 0o777 == 0o600
            message = BytesParser(policy=policy.default).parsebytes(path.read_bytes())
            if message["To"] != email:
                continue
            link = LINK.search(str(message.get_content()))
            assert link is not None, "a mail without a link"
            assert link[1] == product.url
            if link[2] == what:
                found.append(link[3])
                return True
        return False

    wait_until(there)
    return found[0]


def test_a_session_is_refreshed_ends_when_a_token_is_used_twice_and_when_one_signs_out(
    product: Product,
) -> None:
    email = register(product)
    first = sign_in(product, email)
    old = {"refresh_token": first["refresh_token"]}
    second = post(product, "/auth/refresh", old).raise_for_status().json()["data"]
    assert me(product, second["access_token"]).status_code == 200
    again = post(product, "/auth/refresh", old)
    assert refused(again, 401)
    assert again.headers["www-authenticate"]
    assert refused(post(product, "/auth/refresh", {"refresh_token": second["refresh_token"]}), 401)

    third = sign_in(product, email)
    out = post(product, "/auth/logout", {}, third["access_token"])
    assert (out.status_code, out.content) == (204, b"")
    assert refused(post(product, "/auth/refresh", {"refresh_token": third["refresh_token"]}), 401)


def test_an_ended_session_is_refused_at_the_edge_within_a_second(product: Product) -> None:
    email = register(product)
    session, other = sign_in(product, email), sign_in(product, email)
    assert me(product, session["access_token"]).status_code == 200
    post(product, "/auth/logout", {}, session["access_token"]).raise_for_status()
    wait_until(lambda: me(product, session["access_token"]).status_code == 401, timeout_s=1)
    assert me(product, other["access_token"]).status_code == 200


def test_a_mailed_link_verifies_the_address(product: Product) -> None:
    email = register(product)
    token = log_in(product, email)
    assert me(product, token).json()["data"]["is_verified"] is False
    link = {"token": mailed(product, email, "verify-email")}
    assert post(product, "/auth/verify-email", link).status_code == 200
    assert me(product, token).json()["data"]["is_verified"] is True
    assert refused(post(product, "/auth/verify-email", link), 422)


def test_a_forgotten_password_is_replaced_and_what_was_open_is_shut(product: Product) -> None:
    email = register(product)
    session = sign_in(product, email)
    answers = [
        post(product, "/auth/password/forgot", {"email": whose})
        for whose in (email, f"nobody-{new_id().hex}@example.com")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    reset = {"token": mailed(product, email, "reset-password"), "password": NEW_PASSWORD}
    assert post(product, "/auth/password/reset", reset).status_code == 200
    old = {"refresh_token": session["refresh_token"]}
    assert refused(post(product, "/auth/refresh", old), 401)
    assert refused(post(product, "/auth/login", {"email": email, "password": PASSWORD}), 401)
    assert sign_in(product, email, NEW_PASSWORD)["user"]["email"] == email
    assert refused(post(product, "/auth/password/reset", reset), 422)
    told = product.words()
    assert reset["token"] not in told
    assert session["refresh_token"] not in told
    assert email not in told


def test_people_change_what_they_are_called(product: Product) -> None:
    token = log_in(product, register(product))
    changes = {"username": f"u{new_id().hex[-20:]}", "phone": "+491701234567", "full_name": "Ada"}
    with product.client(Authorization=f"Bearer {token}") as client:
        changed = client.patch("/auth/me", json=changes)
        wrong = client.patch("/auth/me", json={"colour": "red"})
    assert changed.status_code == 200
    assert changed.json()["data"].items() >= changes.items()
    assert me(product, token).json()["data"].items() >= changes.items()
    assert refused(wrong, 422)
    assert "colour" in wrong.json()["error"]["message"]
    with product.client(Authorization=f"Bearer {log_in(product, register(product))}") as other:
        taken = other.patch("/auth/me", json={"username": changes["username"].upper()})
    assert refused(taken, 409)


def test_an_erased_person_is_nobody_and_may_come_again(product: Product) -> None:
    email = register(product)
    session = sign_in(product, email)
    token = session["access_token"]
    key = new_key(product, token)
    with product.client(Authorization=f"Bearer {token}") as client:
        wrong = client.request("DELETE", "/auth/me", json={"password": "wrong password"})
        assert refused(wrong, 422)
        assert "password" in wrong.json()["error"]["message"]
        erased = client.request("DELETE", "/auth/me", json={"password": PASSWORD})
        assert (erased.status_code, erased.json()["success"]) == (202, True)
        assert client.get("/auth/me").status_code == 401
    assert refused(post(product, "/auth/login", {"email": email, "password": PASSWORD}), 401)
    old = {"refresh_token": session["refresh_token"]}
    assert refused(post(product, "/auth/refresh", old), 401)
    with product.client(**{"X-API-Key": key}) as client:
        assert client.get("/api/keys").status_code in {401, 403}, "the key died with its user"
    register(product, email)
    new = sign_in(product, email)
    assert new["user"]["id"] != session["user"]["id"]


def test_firebase_is_not_configured_unless_it_is(product: Product) -> None:
    assert refused(post(product, "/auth/firebase", {"id_token": "x"}), 503)


def test_guessing_is_slowed_down_alike_for_known_and_unknown_addresses(product: Product) -> None:
    told = []
    for email in (register(product), f"nobody-{new_id().hex}@example.com"):
        statuses = [
            post(product, "/auth/login", {"email": email, "password": "wrong"}).status_code
            for _ in range(10)
        ]
        blocked = post(product, "/auth/login", {"email": email, "password": PASSWORD})
        assert refused(blocked, 429)
        assert 0 < int(blocked.headers["retry-after"]) <= 30
        told.append((statuses, blocked.json()))
    assert told[0] == told[1]
    assert told[0][0] == [401] * 10


@pytest.fixture
def admin(product: Product) -> httpx.Client:
    password = re.search(r"as the admin: (\S+)  password: (\S+)", product.words())
    assert password is not None
    token = log_in(product, password[1], password[2])
    return product.client(Authorization=f"Bearer {token}")


def test_an_admin_finds_people_and_shuts_one_out(
    product: Product, admin: httpx.Client, user: User
) -> None:
    session = sign_in(product, user.email)
    with admin:
        found = admin.get("/api/admin/users", params={"email": user.email}).json()["users"]
        assert [(one["email"], one["status"]) for one in found] == [(user.email, "active")]
        assert user.email in [
            one["email"] for one in admin.get("/api/admin/users?limit=100").json()["users"]
        ]
        for _ in range(2):
            disabled = admin.post(f"/api/admin/users/{found[0]['id']}/disable")
            assert (disabled.status_code, disabled.json()["user"]["status"]) == (200, "disabled")
        own = me(product, admin.headers["authorization"].split()[1]).json()["data"]["id"]
        assert admin.post(f"/api/admin/users/{own}/disable").status_code == 409
        assert admin.post(f"/api/admin/users/user_{'0' * 32}/disable").status_code == 404
    assert me(product, session["access_token"]).status_code == 401
    old = {"refresh_token": session["refresh_token"]}
    assert refused(post(product, "/auth/refresh", old), 401)
    assert refused(post(product, "/auth/login", {"email": user.email, "password": PASSWORD}), 401)


def test_users_are_listed_to_admins_alone(product: Product, user: User) -> None:
    for path, method in (("/api/admin/users", "GET"), ("/api/admin/users/user_1/disable", "POST")):
        with product.client(Authorization=f"Bearer {user.token}") as client:
            assert client.request(method, path).status_code == 403
        assert user.client.request(method, path).status_code == 401, "no key does"


def test_a_development_folder_of_mails_is_for_its_owner(product: Product) -> None:
    mailed(product, register(product), "verify-email")
    folder: Path = product.home / "mail"
    assert folder.stat().st_mode & 0o777 == 0o700
