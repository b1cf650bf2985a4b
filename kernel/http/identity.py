"""Who is calling, as the gateway has established it: a short-lived signed internal token.

Services believe this token alone; a request without it is answered 401, whatever else it carries.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Request

from kernel.clock import Clock
from kernel.errors import Forbidden, Unauthenticated
from kernel.rates import Rate, RateClass

HEADER = "x-internal-token"
ALGORITHM = "HS256"
AUDIENCE = "smartspec-internal"
LIFETIME = timedelta(seconds=60)
SERVICE_ROLE = "service"
_CLAIMS = ["exp", "aud", "sub", "acc", "role"]
_NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Identity:
    """`account_id` pays, `user_id` acts; `key_id` is None for a signed-in person, whose
    `session_id` is that of the sign-in.

    `monthly_credit_limit_units` (1/10,000 credit) is the key's own, None when it has none;
    `rate_limits` are the key's own too, and known to the edge alone: no token carries them.
    """

    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    scopes: frozenset[str]
    key_id: UUID | None = None
    monthly_credit_limit_units: int | None = None
    rate_limits: tuple[tuple[RateClass, Rate], ...] = ()
    session_id: UUID | None = None

    def require(self, scope: str) -> None:
        """Raise `Forbidden` without `scope`. A signed-in admin has every one, a key its own."""
        if scope not in self.scopes and (self.role != "admin" or self.key_id is not None):
            raise Forbidden(
                "access_denied", f"The scope {scope} is missing.", {"required_scope": scope}
            )

    def require_admin(self) -> None:
        """Raise `Forbidden` unless a signed-in admin asks; no key does, whatever its scopes."""
        if self.role != "admin" or self.key_id is not None:
            raise Forbidden(
                "access_denied", "This is for a signed-in admin.", {"required_scope": "admin"}
            )


ITSELF = Identity(_NOBODY, _NOBODY, role=SERVICE_ROLE, plan="", scopes=frozenset())
"""Who asks where a service asks for itself: nobody's account, no scope. No client is ever it."""


class InternalTokens:
    """Mints (gateway) and reads (services) internal tokens: HS256 in one process.

    `former` secrets are read too, so that processes whose master keys stand in another order
    understand each other while keys rotate.
    """

    def __init__(self, secret: bytes, clock: Clock, former: Sequence[bytes] = ()) -> None:
        self._secrets = (secret, *former)
        self._clock = clock

    def mint(self, identity: Identity) -> str:
        """A token that says `identity`, valid for `LIFETIME`."""
        claims = {
            "aud": AUDIENCE,
            "exp": self._clock.now() + LIFETIME,
            "sub": str(identity.user_id),
            "acc": str(identity.account_id),
            "role": identity.role,
            "plan": identity.plan,
            "scp": sorted(identity.scopes),
            "key": str(identity.key_id) if identity.key_id else None,
            "mcl": identity.monthly_credit_limit_units,
            "sid": str(identity.session_id) if identity.session_id else None,
        }
        return jwt.encode(claims, self._secrets[0], algorithm=ALGORITHM)

    def read(self, token: str | None) -> Identity:
        """Raises `Unauthenticated` for a missing, foreign or expired token."""
        claims = self._claims(token or "")
        if claims is None or claims["exp"] <= self._clock.now().timestamp():
            raise Unauthenticated("unauthenticated", "Call the gateway, not the service.")
        return Identity(
            user_id=UUID(claims["sub"]),
            account_id=UUID(claims["acc"]),
            role=claims["role"],
            plan=claims["plan"],
            scopes=frozenset(claims["scp"]),
            key_id=UUID(claims["key"]) if claims["key"] else None,
            monthly_credit_limit_units=claims["mcl"],
            session_id=UUID(claims["sid"]) if claims.get("sid") else None,
        )

    def _claims(self, token: str) -> dict[str, Any] | None:
        for secret in self._secrets:
            with suppress(jwt.PyJWTError):
                claims: dict[str, Any] = jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],
                    audience=AUDIENCE,
                    options={"require": _CLAIMS, "verify_exp": False},
                )
                return claims
        return None


def _caller(request: Request) -> Identity:
    tokens: InternalTokens = request.app.state.internal_tokens
    return tokens.read(request.headers.get(HEADER))


Caller = Annotated[Identity, Depends(_caller)]
"""The calling identity, as a parameter of a route."""
