"""Access tokens of signed-in people: keys mints them, the gateway verifies them without asking.

A token is a JWT (RFC 7519) of the type `at+jwt` (RFC 9068), so that no other token of ours passes
for one; it knows no password and no session record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import jwt
from pydantic import Field

from kernel.clock import Clock
from kernel.errors import Unauthenticated
from kernel.http.token_keys import SHARED_ALGORITHMS, TokenKeys
from kernel.settings import Settings, WrongSettings

ISSUER: Final = "smartspec"
AUDIENCE: Final = "smartspec-api"
TYPE: Final = "at+jwt"
TOKEN_LENGTH_MAX: Final = 2_048

_REQUIRED: Final = ["exp", "iss", "aud", "sub", "sid"]


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """`user_id` acts, `account_id` pays; `session_id` is what a sign-out will end."""

    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    session_id: UUID


class AccessTokenSettings(Settings):
    """What whoever mints or reads access tokens takes from the environment."""

    jwt_algorithm: str = Field(
        "HS256", validation_alias="JWT_ALGORITHM", pattern=r"^(HS(256|384|512)|EdDSA|RS256)$"
    )
    jwt_private_key_file: Path | None = Field(None, validation_alias="JWT_PRIVATE_KEY_FILE")
    """PEM: the first key signs and decides the algorithm; a gateway needs the public halves."""
    jwt_expire_minutes: int = Field(30, validation_alias="JWT_EXPIRE_MINUTES", ge=1, le=1_440)


class AccessTokens:
    """Mints and reads access tokens that live for `lifetime`."""

    def __init__(self, keys: TokenKeys, lifetime: timedelta, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self.lifetime = lifetime

    @classmethod
    def of(cls, settings: AccessTokenSettings, secret: str, clock: Clock) -> Self:
        """Raises `WrongSettings` for a file of keys that is none."""
        lifetime = timedelta(minutes=settings.jwt_expire_minutes)
        return cls(_keys_of(settings, secret), lifetime, clock)

    @property
    def can_mint(self) -> bool:
        """Whether the private half of the first key is here."""
        return self._keys.signing.signs is not None

    @property
    def jwks(self) -> Mapping[str, Any]:
        """A JWK set (RFC 7517) of what verifies these tokens; empty for a shared secret."""
        return self._keys.jwks

    def mint(self, claims: AccessClaims) -> str:
        """A token that says `claims`, valid from now for `lifetime` (whole seconds, down)."""
        key, now = self._keys.signing, self._clock.now()
        assert key.signs is not None, "only who can mint is asked to"
        headers = {"typ": TYPE} | ({} if key.key_id is None else {"kid": key.key_id})
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + self.lifetime,
            "sub": str(claims.user_id),
            "sid": str(claims.session_id),
            "acc": str(claims.account_id),
            "role": claims.role,
            "plan": claims.plan,
        }
        return jwt.encode(payload, key.signs, key.algorithm, headers=headers)

    def read(self, token: str) -> AccessClaims:
        """Raises `Unauthenticated` (`invalid_token`) for what `mint` did not make, or has ended."""
        payload = self._verified(token)
        expires_s = payload["exp"]
        if isinstance(expires_s, bool) or not isinstance(expires_s, int | float):
            raise invalid_token()
        if self._clock.now().timestamp() >= expires_s:
            raise Unauthenticated("invalid_token", "The access token has expired.")
        return AccessClaims(
            user_id=_id(payload, "sub"),
            account_id=_id(payload, "acc"),
            role=_text(payload, "role"),
            plan=_text(payload, "plan"),
            session_id=_id(payload, "sid"),
        )

    def _verified(self, token: str) -> dict[str, Any]:
        """The payload of a token whose signature, type, issuer and audience are right."""
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            raise invalid_token()
        try:
            key = self._keys.named(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise invalid_token()
            decoded = jwt.decode_complete(
                token,
                key.verifies,
                algorithms=[key.algorithm],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": _REQUIRED,
                    "verify_exp": False,  # by our clock, in `read`
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError:
            raise invalid_token() from None
        if decoded["header"].get("typ") != TYPE:
            raise invalid_token()
        payload: dict[str, Any] = decoded["payload"]
        return payload


def _keys_of(settings: AccessTokenSettings, secret: str) -> TokenKeys:
    path, algorithm = settings.jwt_private_key_file, settings.jwt_algorithm
    if path is None:
        if algorithm not in SHARED_ALGORITHMS:
            raise WrongSettings(
                f"SmartSpec can't start: JWT_ALGORITHM={algorithm} needs JWT_PRIVATE_KEY_FILE"
            )
        return TokenKeys.shared(secret, algorithm)
    try:
        keys = TokenKeys.of_pem(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WrongSettings(f"SmartSpec can't start: JWT_PRIVATE_KEY_FILE {path}: {why}") from None
    asked_for_another = "jwt_algorithm" in settings.model_fields_set
    if asked_for_another and algorithm != keys.signing.algorithm:
        raise WrongSettings(
            f"SmartSpec can't start: JWT_ALGORITHM={algorithm}, but the first key of"
            f" JWT_PRIVATE_KEY_FILE is for {keys.signing.algorithm}"
        )
    return keys


def _id(payload: dict[str, Any], name: str) -> UUID:
    try:
        return UUID(_text(payload, name))
    except ValueError:
        raise invalid_token() from None


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str):
        raise invalid_token()
    return value


def invalid_token() -> Unauthenticated:
    """The one answer to a token that is not good, whatever the reason."""
    return Unauthenticated("invalid_token", "The access token is not valid.")
