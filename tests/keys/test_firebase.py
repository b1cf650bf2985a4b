"""Signing in by Firebase, with tokens that a key of our own signs and a server of our own tells."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from kernel.identifiers import parsed
from kernel.service import Platform
from kernel.testing import FakeClock
from services.keys.adapters.firebase import BELIEVED_FOR, FETCHED_AGAIN_AFTER, FRESH_FOR
from services.keys.app import create_service
from services.keys.settings import KeysSettings
from tests.keys.conftest import ANONYMOUS, Keys
from tests.keys.google import KEYS, Google, playing_google
from tests.keys.test_mailed_links import NEW_PASSWORD, forgot, links, reset, verify
from tests.keys.test_sign_ins import login

PROJECT = "smartspec-test"
ISSUER = f"https://securetoken.google.com/{PROJECT}"


@pytest.fixture
def google() -> Iterator[Google]:
    with playing_google() as google:
        yield google


@pytest.fixture
async def firebase(keys: Keys, platform: Platform, google: Google) -> AsyncIterator[Keys]:
    """Keys that is configured for Firebase."""
    settings = KeysSettings(firebase_project_id=PROJECT, firebase_jwks_url=google.url)
    service = create_service(settings, platform, keys.access_tokens, mailer=keys.mailer)
    assert service.app is not None
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://keys") as client:
        yield replace(keys, service=service, client=client)
    for resource in service.resources:
        await resource.aclose()


def id_token(
    clock: FakeClock,
    *,
    key: rsa.RSAPrivateKey | str = KEYS[0],
    kid: str | None = "first",
    algorithm: str = "RS256",
    without: str = "",
    **changed: Any,
) -> str:
    """A token that is right but for what is changed."""
    now = int(clock.now().timestamp())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": PROJECT,
        "iat": now,
        "exp": now + 3_600,
        "auth_time": now,
        "sub": "firebase-uid-1",
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada L",
        **changed,
    }
    claims.pop(without, None)
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


async def sign_in(keys: Keys, token: str) -> httpx.Response:
    return await keys.call("POST", "/auth/firebase", ANONYMOUS, {"id_token": token})


def whose(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["user"]["id"])


async def is_verified(keys: Keys, answer: httpx.Response) -> bool:
    user_id = parsed("user", whose(answer))
    assert user_id is not None
    me = await keys.call("GET", "/auth/me", replace(ANONYMOUS, user_id=user_id, role="user"))
    return bool(me.json()["data"]["is_verified"])


async def test_registers_at_the_first_time_and_knows_them_at_the_next(
    firebase: Keys, clock: FakeClock
) -> None:
    answer = await sign_in(firebase, id_token(clock))
    data = answer.json()["data"]
    assert data.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "user"}
    assert (data["user"]["email"], data["user"]["full_name"]) == ("ada@example.com", "Ada L")
    assert await is_verified(firebase, answer)
    renamed = id_token(clock, email="other@example.com", email_verified=False)
    assert whose(await sign_in(firebase, renamed)) == whose(answer)
    assert await firebase.count("keys.users") == 1
    assert await firebase.mailed() == [], "the address is verified"


async def test_has_no_password_until_one_is_set_by_mail(firebase: Keys, clock: FakeClock) -> None:
    user = whose(await sign_in(firebase, id_token(clock)))
    assert (await login(firebase, "ada@example.com", "")).status_code == 422
    assert (await login(firebase, "ada@example.com", NEW_PASSWORD)).status_code == 401
    await forgot(firebase, "ada@example.com")
    (token,) = await links(firebase)
    assert (await reset(firebase, token)).status_code == 200
    assert whose(await login(firebase, "ada@example.com", NEW_PASSWORD)) == user
    assert whose(await sign_in(firebase, id_token(clock))) == user, "it was verified, so it stays"


async def test_an_address_that_firebase_has_not_verified_is_not_verified_here(
    firebase: Keys, clock: FakeClock
) -> None:
    answer = await sign_in(firebase, id_token(clock, email_verified=False))
    assert not await is_verified(firebase, answer)
    (token,) = await links(firebase)
    assert (await verify(firebase, token)).status_code == 200
    assert await is_verified(firebase, answer)


@pytest.mark.parametrize("at_firebase", [True, False])
@pytest.mark.parametrize("here", [True, False])
async def test_links_to_a_user_only_where_both_sides_know_that_the_address_is_theirs(
    firebase: Keys, clock: FakeClock, *, at_firebase: bool, here: bool
) -> None:
    person = await firebase.register("ada@example.com")
    (token,) = await links(firebase)
    if here:
        await verify(firebase, token)
    answer = await sign_in(firebase, id_token(clock, email_verified=at_firebase))
    if at_firebase and here:
        assert parsed("user", whose(answer)) == person.identity.user_id
        assert parsed("user", whose(await login(firebase, person.email))) is not None
    else:
        assert (answer.status_code, answer.json()["error"]) == (409, "email_taken")
    assert await firebase.count("keys.users") == 1


async def test_whoever_took_an_address_first_loses_it_to_whom_it_belongs(
    firebase: Keys, clock: FakeClock
) -> None:
    thief = await sign_in(firebase, id_token(clock, email_verified=False))
    await links(firebase)
    await forgot(firebase, "ada@example.com")
    (token,) = await links(firebase)
    assert (await reset(firebase, token)).status_code == 200
    again = await sign_in(firebase, id_token(clock, email_verified=False))
    assert (again.status_code, again.json()["error"]) == (409, "email_taken")
    assert whose(await login(firebase, "ada@example.com", NEW_PASSWORD)) == whose(thief)


async def test_needs_an_address(firebase: Keys, clock: FakeClock) -> None:
    for token in (id_token(clock, without="email"), id_token(clock, email="ada")):
        answer = await sign_in(firebase, token)
        assert (answer.status_code, answer.json()["error"]) == (422, "email_required")
        assert answer.json()["details"] == {"field": "id_token"}
    assert await firebase.count("keys.users") == 0


BAD: dict[str, dict[str, Any]] = {
    "another project": {"aud": "other"},
    "another issuer": {"iss": "https://securetoken.google.com/other"},
    "no subject": {"without": "sub"},
    "an empty subject": {"sub": ""},
    "a long subject": {"sub": "x" * 129},
    "no end": {"without": "exp"},
    "an end that is no time": {"exp": True},
    "ended": {"exp": 1},
    "made in the future": {"iat": 2**40},
    "signed in in the future": {"auth_time": 2**40},
    "no beginning": {"without": "iat"},
    "another's signature": {"key": KEYS[1]},
    "an unknown key": {"kid": "unknown"},
    "a key of another kind": {"kid": "of another kind"},
    "no key": {"kid": None},
    "another algorithm": {"algorithm": "RS512"},
    "a shared secret": {"key": "x" * 64, "algorithm": "HS256"},
    "no signature": {"key": "", "algorithm": "none"},
}


@pytest.mark.parametrize("changed", BAD.values(), ids=BAD.keys())
async def test_refuses_a_token_with(
    firebase: Keys, clock: FakeClock, changed: dict[str, Any]
) -> None:
    answer = await sign_in(firebase, id_token(clock, **changed))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_firebase_token")
    assert await firebase.count("keys.users") == 0
    assert await firebase.count("keys_read.key_audit_logs") == 1


async def test_refuses_what_is_no_token(firebase: Keys) -> None:
    for text in ("x", "a.b.c", "é.é.é", "x" * 8_193):
        answer = await sign_in(firebase, text)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_firebase_token")


async def test_asks_for_keys_once_an_hour_and_for_a_new_one_at_most_once_a_minute(
    firebase: Keys, clock: FakeClock, google: Google
) -> None:
    await sign_in(firebase, id_token(clock))
    clock.turn(FRESH_FOR - timedelta(seconds=1))
    await sign_in(firebase, id_token(clock))
    assert google.asked == 1
    google.told = {"second": KEYS[1]}
    new: dict[str, Any] = {"key": KEYS[1], "kid": "second"}
    assert (await sign_in(firebase, id_token(clock, **new))).status_code == 200
    assert google.asked == 2
    for _ in range(5):
        assert (await sign_in(firebase, id_token(clock, kid="unknown"))).status_code == 401
    assert google.asked == 2
    clock.turn(FETCHED_AGAIN_AFTER)
    assert (await sign_in(firebase, id_token(clock, kid="unknown"))).status_code == 401
    assert google.asked == 3
    clock.turn(FRESH_FOR)
    assert (await sign_in(firebase, id_token(clock, **new))).status_code == 200
    assert google.asked == 4


async def test_goes_on_with_known_keys_while_google_is_away_for_a_day_at_most(
    firebase: Keys, clock: FakeClock, google: Google
) -> None:
    google.status = 503
    answer = await sign_in(firebase, id_token(clock))
    assert (answer.status_code, answer.json()["error"]) == (503, "firebase_unavailable")
    assert answer.headers["retry-after"]
    google.status = 200
    clock.turn(FETCHED_AGAIN_AFTER)
    assert (await sign_in(firebase, id_token(clock))).status_code == 200
    google.status = 503
    clock.turn(BELIEVED_FOR - timedelta(seconds=1))
    assert (await sign_in(firebase, id_token(clock))).status_code == 200
    clock.turn(timedelta(seconds=1))
    assert (await sign_in(firebase, id_token(clock))).status_code == 503


async def test_says_that_it_is_not_configured(keys: Keys, clock: FakeClock) -> None:
    answer = await sign_in(keys, id_token(clock))
    assert (answer.status_code, answer.json()["error"]) == (503, "not_configured")
    for wrong in ({}, {"id_token": ""}, {"id_token": 7}, {"id_token": "x", "provider": "y"}):
        answer = await keys.call("POST", "/auth/firebase", ANONYMOUS, wrong)
        assert answer.status_code == 422, wrong


async def test_a_disabled_user_stays_out(firebase: Keys, clock: FakeClock) -> None:
    user = whose(await sign_in(firebase, id_token(clock)))
    admin = await firebase.admin()
    path = f"/api/admin/users/{user}/disable"
    assert (await firebase.call("POST", path, admin.identity)).status_code == 200
    assert (await sign_in(firebase, id_token(clock))).status_code == 401


async def test_an_erased_user_may_come_again_as_somebody_new(
    firebase: Keys, clock: FakeClock
) -> None:
    first = whose(await sign_in(firebase, id_token(clock)))
    user_id = parsed("user", first)
    assert user_id is not None
    caller = replace(ANONYMOUS, user_id=user_id, role="user")
    body = {"confirm": "ada@example.com"}
    assert (await firebase.call("DELETE", "/auth/me", caller, body)).status_code == 202
    assert whose(await sign_in(firebase, id_token(clock))) != first
