"""`/auth`: registering, signing in, and who one is."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Unauthenticated
from kernel.identifiers import shown
from kernel.testing import FakeClock
from services.keys.adapters.users import normalised
from services.keys.app import ensure_admin
from tests.keys.conftest import ANONYMOUS, PASSWORD, Keys

REGISTER: dict[str, Any] = {"email": "ada@example.com", "password": PASSWORD, "full_name": "Ada L"}


async def test_registers_in_the_seeds_shape(keys: Keys) -> None:
    answer = await keys.call("POST", "/auth/register", ANONYMOUS, REGISTER)
    body = answer.json()
    user_id = body["data"].pop("user_id")
    assert (answer.status_code, body) == (
        201,
        {
            "success": True,
            "message": "User registered successfully",
            "data": {"email": "ada@example.com", "is_verified": False},
        },
    )
    assert len(user_id) == len("user_") + 32


async def test_refuses_an_address_that_is_taken_in_another_spelling(keys: Keys) -> None:
    await keys.register("ada@example.com")
    again = {**REGISTER, "email": " \uff21DA@Example.COM "}  # a full-width A
    answer = await keys.call("POST", "/auth/register", ANONYMOUS, again)
    assert (answer.status_code, answer.json()["error"]) == (409, "email_taken")
    assert await keys.count("keys.events WHERE type = 'UserRegistered'") == 1


async def test_registers_one_of_many_who_want_one_address_at_once(keys: Keys) -> None:
    answers = await asyncio.gather(
        *(keys.call("POST", "/auth/register", ANONYMOUS, REGISTER) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert await keys.count("keys.users") == 1


WRONG: list[tuple[str, object]] = [
    ("email", None),
    ("email", ""),
    ("email", "ada"),
    ("email", "ada@localhost"),
    ("email", "a b@example.com"),
    ("email", "a@b@example.com"),
    ("email", "ada@example..com"),
    ("email", "ada@example.com\u0000"),
    ("email", "\u0001ada@example.com"),
    ("email", "a" * 65 + "@example.com"),
    ("email", "ada@" + "a" * 250 + ".com"),
    ("email", "ﷺ" * 60 + "@example.com"),
    ("email", ["ada@example.com"]),
    ("password", None),
    ("password", ""),
    ("password", "1234567"),
    ("password", "x" * 1025),
    ("password", 12345678),
    ("full_name", " "),
    ("full_name", "x" * 201),
    ("full_name", "a\u0000b"),
    ("role", "admin"),
]


async def test_names_the_field_that_is_wrong_and_registers_nobody(keys: Keys) -> None:
    for field, value in WRONG:
        answer = await keys.call("POST", "/auth/register", ANONYMOUS, {**REGISTER, field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["details"]["fields"][0]["field"].split(".")[0] == field, value
    assert await keys.count("keys.users") == 0


async def test_signs_in_in_the_seeds_shape(keys: Keys) -> None:
    person = await keys.register("ada@example.com", "Ada L")
    login = {"email": "ADA@example.com", "password": PASSWORD}
    answer = await keys.call("POST", "/auth/login", ANONYMOUS, login)
    body = answer.json()
    assert body["data"].pop("access_token").count(".") == 2
    assert body["data"].pop("refresh_token").startswith("rt_")
    assert (answer.status_code, body) == (
        200,
        {
            "success": True,
            "message": "Login successful",
            "data": {
                "token_type": "bearer",
                "expires_in": 1800,
                "user": {
                    "id": shown("user", person.identity.user_id),
                    "email": "ada@example.com",
                    "full_name": "Ada L",
                },
            },
        },
    )


async def test_signs_in_with_a_token_that_says_who_until_it_ends(
    keys: Keys, clock: FakeClock
) -> None:
    person = await keys.register("ada@example.com")
    login = {"email": person.email, "password": PASSWORD}
    answer = await keys.call("POST", "/auth/login", ANONYMOUS, login)
    token = answer.json()["data"]["access_token"]
    claims = keys.access_tokens.read(token)
    assert (claims.user_id, claims.role, claims.plan) == (person.identity.user_id, "user", "free")
    clock.turn(timedelta(seconds=answer.json()["data"]["expires_in"]))
    with pytest.raises(Unauthenticated):
        keys.access_tokens.read(token)


async def test_each_sign_in_is_a_session_of_its_own(keys: Keys) -> None:
    person = await keys.register()
    login = {"email": person.email, "password": PASSWORD}
    answers = [await keys.call("POST", "/auth/login", ANONYMOUS, login) for _ in range(2)]
    sessions = {
        keys.access_tokens.read(answer.json()["data"]["access_token"]).session_id
        for answer in answers
    }
    assert len(sessions) == 2


async def test_answers_an_unknown_address_and_a_wrong_password_alike(keys: Keys) -> None:
    person = await keys.register()
    wrong = {"email": person.email, "password": "not it at all"}
    unknown = {"email": "nobody@example.com", "password": PASSWORD}
    answers = [await keys.call("POST", "/auth/login", ANONYMOUS, body) for body in (wrong, unknown)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["error"] == "invalid_credentials"
    assert answers[0].headers["www-authenticate"]


async def test_refuses_a_malformed_sign_in(keys: Keys) -> None:
    right = {"email": "ada@example.com", "password": PASSWORD}
    for wrong in (
        {"password": None},
        {"password": ""},
        {"password": "x" * 1025},
        {"email": "ada"},
        {"otp": "1"},
    ):
        answer = await keys.call("POST", "/auth/login", ANONYMOUS, {**right, **wrong})
        assert answer.status_code == 422, wrong
        assert answer.json()["details"]["fields"][0]["field"] in wrong


async def test_never_repeats_a_refused_password(keys: Keys) -> None:
    body = {**REGISTER, "password": "canary7"}
    answer = await keys.call("POST", "/auth/register", ANONYMOUS, body)
    assert answer.status_code == 422
    assert "canary7" not in answer.text


async def test_tells_people_who_they_are(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register("ada@example.com", "Ada L")
    answer = await keys.call("GET", "/auth/me", person.identity)
    assert answer.json() == {
        "success": True,
        "message": "User retrieved successfully",
        "data": {
            "id": shown("user", person.identity.user_id),
            "email": "ada@example.com",
            "full_name": "Ada L",
            "username": None,
            "phone": None,
            "is_verified": False,
            "role": "user",
            "plan": "free",
            "created_at": clock.now().isoformat().replace("+00:00", "Z"),
        },
    }


async def test_knows_no_user_behind_an_anonymous_caller(keys: Keys) -> None:
    answer = await keys.call("GET", "/auth/me", ANONYMOUS)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")


async def test_answers_nobody_but_the_gateway(keys: Keys) -> None:
    for method, path in (
        ("POST", "/auth/register"),
        ("POST", "/auth/login"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/logout"),
        ("POST", "/auth/verify-email"),
        ("POST", "/auth/password/forgot"),
        ("POST", "/auth/password/reset"),
        ("POST", "/auth/firebase"),
        ("GET", "/auth/me"),
        ("PATCH", "/auth/me"),
        ("DELETE", "/auth/me"),
        ("GET", "/api/admin/users"),
        ("POST", "/api/admin/users/user_1/disable"),
        ("POST", "/internal/sessions/resolve"),
        ("POST", "/api/keys"),
        ("GET", "/api/keys"),
        ("GET", "/api/keys/key_1"),
        ("POST", "/api/keys/key_1/revoke"),
        ("POST", "/internal/keys/resolve"),
    ):
        answer = await keys.call(method, path, None, None if method == "GET" else REGISTER)
        assert answer.status_code == 401, path
    assert await keys.count("keys.users") == 0


async def test_makes_the_sandbox_admin_once(keys: Keys) -> None:
    admins = await asyncio.gather(
        *(
            ensure_admin(keys.service, keys.platform, "Admin@Example.com", PASSWORD)
            for _ in range(2)
        )
    )
    assert admins[0] == await ensure_admin(
        keys.service, keys.platform, "admin@example.com", PASSWORD
    )
    assert admins[0] == admins[1]
    login = {"email": "admin@example.com", "password": PASSWORD}
    answer = await keys.call("POST", "/auth/login", ANONYMOUS, login)
    assert keys.access_tokens.read(answer.json()["data"]["access_token"]).role == "admin"


async def test_makes_no_admin_of_a_user_who_was_there(keys: Keys) -> None:
    person = await keys.register("admin@example.com")
    found = await ensure_admin(keys.service, keys.platform, "admin@example.com", "other password")
    assert found == person.identity.user_id
    me = await keys.call("GET", "/auth/me", person.identity)
    assert me.json()["data"]["role"] == "user"


@given(st.text(max_size=40))
def test_normalising_an_address_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
