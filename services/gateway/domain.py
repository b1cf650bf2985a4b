"""Who may do what, and how often: the scopes of roles, the role in which a key acts, and whom a
request is counted for; knows no request."""

from collections.abc import Set as AbstractSet
from typing import Final
from uuid import UUID

from kernel.rates import Rate, RateClass

USER_SCOPES: Final = frozenset(
    {
        "generation:create",
        "generation:read",
        "generation:delete",
        "credits:read",
        "storage:read",
        "storage:write",
        "storage:delete",
        "keys:read",
        "keys:write",
        "webhooks:manage",
        "gallery:write",
        "specs:read",
        "specs:write",
    }
)
ADMIN_SCOPE: Final = "admin"
ROLE_SCOPES: Final = {
    "user": USER_SCOPES,
    "moderator": USER_SCOPES,
    "admin": USER_SCOPES | {ADMIN_SCOPE},
}
_RAISED_ROLES: Final = frozenset(ROLE_SCOPES) - {"user"}


def scopes_of(role: str) -> frozenset[str]:
    """What a signed-in person of `role` may do; nothing for a role that nobody knows."""
    return ROLE_SCOPES.get(role, frozenset())


def role_of_key(owner_role: str, scopes: AbstractSet[str]) -> str:
    """The role in which a key acts: its owner's, but a raised one only with the scope `admin`.

    Services give the role admin every scope, so a narrow key of an admin must not carry it.
    """
    if owner_role in _RAISED_ROLES and ADMIN_SCOPE not in scopes:
        return "user"
    return owner_role


RATES: Final = {
    RateClass.API: Rate(100, 60),
    RateClass.ANONYMOUS: Rate(10, 60),
    RateClass.AUTH: Rate(10, 60),
    RateClass.GENERATION: Rate(10, 60),
    RateClass.UPLOAD: Rate(10, 60),
    RateClass.DOWNLOAD: Rate(100, 60),
    RateClass.ROTATION: Rate(3, 3_600),
    RateClass.MFA: Rate(5, 300),
    RateClass.SPECGEN: Rate(20, 60),
    RateClass.PAGE: Rate(300, 60),
}
"""What a class allows where neither the settings nor the key say otherwise."""
_BY_ADDRESS: Final = frozenset({RateClass.ANONYMOUS, RateClass.AUTH, RateClass.PAGE})
"""Guessing and reading are held to an address, whoever signs in from it."""


def counted_for(
    rate_class: RateClass, key: UUID | None, user: UUID | None, address: str
) -> tuple[RateClass, tuple[str, ...]]:
    """The class in which a request is counted, and for whom: the key (all secrets of it are one),
    else the user, else the address.

    Who is not known is anonymous where others have the class `api`. A spec is counted for its user
    and for the address, so that neither many accounts nor many addresses make more of them.
    """
    if user is None and rate_class is RateClass.API:
        rate_class = RateClass.ANONYMOUS
    if user is None or rate_class in _BY_ADDRESS:
        return rate_class, (f"address:{address}",)
    if rate_class is RateClass.SPECGEN:
        return rate_class, (f"address:{address}", f"user:{user.hex}")
    return rate_class, (f"user:{user.hex}" if key is None else f"key:{key.hex}",)
