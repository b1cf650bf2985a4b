"""Access tokens of signed-in people: keys mints them, the gateway verifies them without asking.

A token is a JWT (RFC 7519) of the type `at+jwt` (RFC 9068), so that no other token of ours passes
for one; it knows no password and no session record.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self
from uuid import UUID

import jwt
from pydantic import Field

from kernel.clock import Clock
from kernel.errors import Unauthenticated
from kernel.settings import Settings

ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
ISSUER: Final = "smartspec"
AUDIENCE: Final = "smartspec-api"
TYPE: Final = "at+jwt"
SECRET_BYTES_MIN: Final = 32
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
        "HS256", validation_alias="JWT_ALGORITHM", pattern=r"^HS(256|384|512)$"
    )
    jwt_expire_minutes: int = Field(30, validation_alias="JWT_EXPIRE_MINUTES", ge=1, le=1_440)


class AccessTokens:
    """Mints and reads access tokens of one algorithm, one secret and one `lifetime`."""

    def __init__(self, secret: str, algorithm: str, lifetime: timedelta, clock: Clock) -> None:
        """Raises ValueError for another algorithm than `ALGORITHMS`, or a short secret (RFC 7518,
        3.2: no shorter than the hash)."""
        if algorithm not in ALGORITHMS:
            raise ValueError(f"JWT_ALGORITHM must be one of {', '.join(sorted(ALGORITHMS))}")
        self._secret = secret.encode()
        secret_bytes_min = max(SECRET_BYTES_MIN, int(algorithm[2:]) // 8)
        if len(self._secret) < secret_bytes_min:
            raise ValueError(f"JWT_SECRET_KEY needs at least {secret_bytes_min} bytes")
        self._algorithm = algorithm
        self._clock = clock
        self.lifetime = lifetime

    @classmethod
    def of(cls, settings: AccessTokenSettings, secret: str, clock: Clock) -> Self:
        lifetime = timedelta(minutes=settings.jwt_expire_minutes)
        return cls(secret, settings.jwt_algorithm, lifetime, clock)

    def mint(self, claims: AccessClaims) -> str:
        """A token that says `claims`, valid from now for `lifetime` (whole seconds, down)."""
        now = self._clock.now()
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
        return jwt.encode(payload, self._secret, self._algorithm, headers={"typ": TYPE})

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
            decoded = jwt.decode_complete(
                token,
                self._secret,
                algorithms=[self._algorithm],
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
