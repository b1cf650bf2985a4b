"""Access tokens say who signed in, for a while, and nothing else passes for one."""

import base64
import hmac
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.errors import Unauthenticated
from kernel.http import Identity, InternalTokens
from kernel.http.access_tokens import (
    AUDIENCE,
    ISSUER,
    TOKEN_LENGTH_MAX,
    TYPE,
    AccessClaims,
    AccessTokens,
    AccessTokenSettings,
)
from kernel.http.token_keys import TokenKeys
from kernel.settings import WrongSettings
from kernel.testing import FakeClock
from tests.kernel.test_token_keys import private_pem, public_pem

SECRET = "a secret of tests, and of nothing else"
LIFETIME = timedelta(minutes=30)
CLAIMS = AccessClaims(UUID(int=1), UUID(int=2), "user", "free", UUID(int=3))


def tokens(clock: FakeClock, secret: str = SECRET, algorithm: str = "HS256") -> AccessTokens:
    return AccessTokens(TokenKeys.shared(secret, algorithm), LIFETIME, clock)


def forged(
    clock: FakeClock,
    *,
    without: str | None = None,
    typ: str = TYPE,
    secret: str = SECRET,
    algorithm: str = "HS256",
    **changed: Any,
) -> str:
    """A token that is right but for one thing."""
    payload: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": clock.now() + LIFETIME,
        "sub": str(CLAIMS.user_id),
        "sid": str(CLAIMS.session_id),
        "acc": str(CLAIMS.account_id),
        "role": "user",
        "plan": "free",
        **changed,
    }
    payload.pop(without or "", None)
    return jwt.encode(payload, secret, algorithm, headers={"typ": typ})


def refuses(clock: FakeClock, token: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        tokens(clock).read(token)
    assert refusal.value.code == "invalid_token"


def test_reads_what_it_minted(clock: FakeClock) -> None:
    assert tokens(clock).read(tokens(clock).mint(CLAIMS)) == CLAIMS


def test_the_forgery_of_these_tests_is_right_when_nothing_is_changed(clock: FakeClock) -> None:
    assert tokens(clock).read(forged(clock)) == CLAIMS


@pytest.mark.parametrize("years", [-20, 20])
def test_believes_the_given_clock_and_no_other(years: int) -> None:
    clock = FakeClock(datetime.fromisoformat("2026-01-01T00:00:00Z") + timedelta(days=365 * years))
    assert tokens(clock).read(tokens(clock).mint(CLAIMS)) == CLAIMS


def test_lives_until_the_last_second_of_its_lifetime(clock: FakeClock) -> None:
    token = tokens(clock).mint(CLAIMS)
    clock.turn(LIFETIME - timedelta(seconds=1))
    assert tokens(clock).read(token) == CLAIMS


def test_ends_with_its_lifetime(clock: FakeClock) -> None:
    token = tokens(clock).mint(CLAIMS)
    clock.turn(LIFETIME)
    refuses(clock, token)


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub", "sid", "acc", "role", "plan"])
def test_refuses_a_token_that_leaves_something_out(clock: FakeClock, claim: str) -> None:
    refuses(clock, forged(clock, without=claim))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": "2999-01-01"},
        {"exp": True},
        {"exp": None},
        {"iss": "somebody"},
        {"aud": "smartspec-internal"},
        {"sub": "not an id"},
        {"sid": 7},
        {"acc": None},
        {"role": ["admin"]},
        {"plan": 1},
    ],
    ids=str,
)
def test_refuses_a_claim_of_another_kind_or_value(
    clock: FakeClock, changed: dict[str, Any]
) -> None:
    refuses(clock, forged(clock, **changed))


def test_refuses_a_token_of_another_type(clock: FakeClock) -> None:
    refuses(clock, forged(clock, typ="JWT"))


def test_refuses_another_secret(clock: FakeClock) -> None:
    refuses(clock, forged(clock, secret="another secret that is just as long"))


def test_refuses_another_algorithm_with_the_right_secret(clock: FakeClock) -> None:
    long = SECRET * 2
    token = forged(clock, secret=long, algorithm="HS512")
    with pytest.raises(Unauthenticated):
        tokens(clock, secret=long).read(token)
    assert tokens(clock, secret=long, algorithm="HS512").read(token) == CLAIMS


def test_refuses_an_unsigned_token(clock: FakeClock) -> None:
    header, payload, _ = forged(clock).split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    refuses(clock, f"{unsigned}.{payload}.")
    refuses(clock, f"{header}.{payload}.")


def test_refuses_an_internal_token_of_the_same_secret(clock: FakeClock) -> None:
    identity = Identity(UUID(int=1), UUID(int=2), "user", "free", frozenset())
    refuses(clock, InternalTokens(SECRET.encode(), clock).mint(identity))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b.c",
        "é.é.é",
        "\ud800",
        "x" * (TOKEN_LENGTH_MAX + 1),
        base64.urlsafe_b64encode(b"[" * 1_500).decode() + ".e30.AA",
        base64.urlsafe_b64encode(b"7").decode() + ".e30.AA",
    ],
    ids=ascii,
)
def test_refuses_any_other_text(clock: FakeClock, text: str) -> None:
    refuses(clock, text)


def test_accepts_no_short_secret(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="JWT_SECRET_KEY"):
        tokens(clock, secret="x" * 31)


@pytest.mark.parametrize("algorithm", ["none", "RS256", "hs256", ""])
def test_accepts_no_other_kind_of_algorithm(clock: FakeClock, algorithm: str) -> None:
    with pytest.raises(ValueError, match="JWT_ALGORITHM"):
        tokens(clock, algorithm=algorithm)


def test_signs_with_the_first_key_of_a_file_and_reads_what_the_others_signed(
    clock: FakeClock,
) -> None:
    old, new = (private_pem(Ed25519PrivateKey.generate()) for _ in range(2))
    before = AccessTokens(TokenKeys.of_pem(old), LIFETIME, clock)
    during = AccessTokens(TokenKeys.of_pem(new + old), LIFETIME, clock)
    after = AccessTokens(TokenKeys.of_pem(new), LIFETIME, clock)
    token = before.mint(CLAIMS)
    assert during.read(token) == after.read(during.mint(CLAIMS)) == CLAIMS
    with pytest.raises(Unauthenticated):
        after.read(token)


def test_who_has_the_public_half_reads_and_mints_nothing(clock: FakeClock) -> None:
    key = Ed25519PrivateKey.generate()
    reader = AccessTokens(TokenKeys.of_pem(public_pem(key)), LIFETIME, clock)
    token = AccessTokens(TokenKeys.of_pem(private_pem(key)), LIFETIME, clock).mint(CLAIMS)
    assert reader.read(token) == CLAIMS
    assert not reader.can_mint


def test_a_public_key_is_no_secret_to_sign_with(clock: FakeClock) -> None:
    """CVE-2015-9235: an HMAC over what everybody can read."""
    key = Ed25519PrivateKey.generate()
    keys = TokenKeys.of_pem(private_pem(key))
    header = {"typ": TYPE, "kid": keys.signing.key_id, "alg": "HS256"}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, {"exp": clock.now().timestamp() + 60, "sub": str(UUID(int=1))})
    ]
    signed = b".".join(parts)
    mac = hmac.digest(public_pem(key).encode(), signed, "sha256")
    token = b".".join([signed, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()
    with pytest.raises(Unauthenticated):
        AccessTokens(keys, LIFETIME, clock).read(token)


def test_settings_name_what_is_wrong_with_a_file_of_keys(clock: FakeClock, tmp_path: Path) -> None:
    path = tmp_path / "jwt.pem"
    for text, algorithm, wrong in (
        ("no key", None, "holds no PEM key"),
        (None, None, "No such file"),
        (private_pem(Ed25519PrivateKey.generate()), "RS256", "is for EdDSA"),
    ):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        asked: dict[str, Any] = {} if algorithm is None else {"JWT_ALGORITHM": algorithm}
        settings = AccessTokenSettings(JWT_PRIVATE_KEY_FILE=path, **asked)
        with pytest.raises(WrongSettings, match=wrong):
            AccessTokens.of(settings, SECRET, clock)
    with pytest.raises(WrongSettings, match="JWT_PRIVATE_KEY_FILE"):
        AccessTokens.of(AccessTokenSettings(JWT_ALGORITHM="EdDSA"), SECRET, clock)
