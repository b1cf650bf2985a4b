"""Who may do what: the scopes of roles, and the role in which a key acts; knows no request."""

from collections.abc import Set as AbstractSet
from typing import Final

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
