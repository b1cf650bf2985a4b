"""Reads Firebase's ID tokens: RS256 by the keys that Google publishes; knows no user of ours.

The rules are Firebase's ("Verify ID tokens using a third-party JWT library"): algorithm, issuer,
audience, `exp`, `iat`, `auth_time`, `sub`. Keys are fetched by the outbound fetcher, kept for an
hour, fetched anew for a key id that is not among them, at most once a minute, and not believed any
more after a day.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from kernel.clock import Clock
from kernel.errors import Unauthenticated, Unavailable
from kernel.outbound import Outbound, OutboundFailed

ALGORITHM: Final = "RS256"
ISSUER: Final = "https://securetoken.google.com/"
TOKEN_LENGTH_MAX: Final = 8_192
UID_LENGTH_MAX: Final = 128
NAME_LENGTH_MAX: Final = 200
KEYS_MAX: Final = 20
JWKS_BYTES_MAX: Final = 262_144
FETCH_TIMEOUT_S: Final = 5.0
FRESH_FOR: Final = timedelta(hours=1)
FETCHED_AGAIN_AFTER: Final = timedelta(minutes=1)
BELIEVED_FOR: Final = timedelta(days=1)
CLOCK_SKEW: Final = timedelta(seconds=60)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FirebaseUser:
    """`uid` is unique within the project; `email` is "" for whoever has none there."""

    uid: str
    email: str
    email_verified: bool
    name: str | None


class _KeySet(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    keys: list[dict[str, Any]]


class FirebaseTokens:
    """ID tokens of one project."""

    def __init__(self, project_id: str, jwks_url: str, outbound: Outbound, clock: Clock) -> None:
        self.project_id = project_id
        self._jwks_url = jwks_url
        self._outbound = outbound
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._fetching = asyncio.Lock()

    async def read(self, id_token: str) -> FirebaseUser:
        """Raises `Unauthenticated` (`invalid_firebase_token`), or `Unavailable` while Google's keys
        can't be had."""
        if len(id_token) > TOKEN_LENGTH_MAX or not id_token.isascii():
            raise _invalid()
        try:
            header = jwt.get_unverified_header(id_token)
        except jwt.PyJWTError:
            raise _invalid() from None
        key_id = header.get("kid")
        if header.get("alg") != ALGORITHM or not isinstance(key_id, str):
            raise _invalid()
        return _user(self._verified(id_token, await self._key(key_id)))

    def _verified(self, id_token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=[ALGORITHM],
                audience=self.project_id,
                issuer=f"{ISSUER}{self.project_id}",
                options={
                    "require": ["exp", "iat", "aud", "iss", "sub"],
                    "verify_exp": False,  # by our clock
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError:
            raise _invalid() from None
        now = self._clock.now()
        soon_s = (now + CLOCK_SKEW).timestamp()
        if _seconds(claims, "exp") <= now.timestamp() or _seconds(claims, "iat") > soon_s:
            raise _invalid()
        if "auth_time" in claims and _seconds(claims, "auth_time") > soon_s:
            raise _invalid()
        return claims

    async def _key(self, key_id: str) -> jwt.PyJWK:
        async with self._fetching:  # one fetch for all who wait
            now = self._clock.now()
            if key_id not in self._keys or not _within(self._fetched_at, FRESH_FOR, now):
                await self._refresh(now)
            key = self._keys.get(key_id)
            if not _within(self._fetched_at, BELIEVED_FOR, now):
                raise Unavailable(
                    "firebase_unavailable", "Firebase can't be asked just now.", retry_after_s=60
                )
        if key is None:
            raise _invalid()
        return key

    async def _refresh(self, now: datetime) -> None:
        """Fetch the keys, unless that was tried a moment ago; those that are there stay if it
        fails."""
        if _within(self._tried_at, FETCHED_AGAIN_AFTER, now):
            return
        self._tried_at = now
        try:
            self._keys = _rsa_keys(await self._fetch())
        except (OutboundFailed, ValidationError, OSError) as error:
            _log.warning("firebase_keys_not_fetched", error=type(error).__name__)
        else:
            self._fetched_at = now

    async def _fetch(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="smartspec-jwks-") as folder:
            path = Path(folder) / "jwks.json"
            await self._outbound.fetch_to_file(
                self._jwks_url, path, max_bytes=JWKS_BYTES_MAX, timeout_s=FETCH_TIMEOUT_S
            )
            return await asyncio.to_thread(path.read_bytes)


def _rsa_keys(text: bytes) -> Mapping[str, jwt.PyJWK]:
    """The first `KEYS_MAX` signing keys by their id; what is no such key is passed over."""
    found: dict[str, jwt.PyJWK] = {}
    for raw in _KeySet.model_validate_json(text).keys[:KEYS_MAX]:
        key_id = raw.get("kid")
        if not isinstance(key_id, str) or raw.get("kty") != "RSA" or raw.get("use") == "enc":
            continue
        try:
            found[key_id] = jwt.PyJWK(raw, algorithm=ALGORITHM)
        except jwt.PyJWTError as error:
            _log.warning("firebase_key_unreadable", error=type(error).__name__)
    return found


def _user(claims: Mapping[str, Any]) -> FirebaseUser:
    uid, email, name = (claims.get(part) for part in ("sub", "email", "name"))
    if not isinstance(uid, str) or not 0 < len(uid) <= UID_LENGTH_MAX:
        raise _invalid()
    return FirebaseUser(
        uid=uid,
        email=email if isinstance(email, str) else "",
        email_verified=claims.get("email_verified") is True,
        name=name if isinstance(name, str) and _readable(name) else None,
    )


def _readable(name: str) -> bool:
    return bool(name.strip()) and name.isprintable() and len(name) <= NAME_LENGTH_MAX


def _within(since: datetime | None, span: timedelta, now: datetime) -> bool:
    return since is not None and now < since + span


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid()
    return float(value)


def _invalid() -> Unauthenticated:
    return Unauthenticated("invalid_firebase_token", "The Firebase token is not valid.")
