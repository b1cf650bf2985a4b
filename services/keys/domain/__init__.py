"""The rules of keys: pure, and all that its other files know of them."""

from services.keys.domain.api_keys import (
    API_KEY,
    KEYS,
    ApiKey,
    CreateKey,
    Creator,
    KeyCreated,
    KeyEvent,
    KeyRevoked,
    RevokeKey,
    Scope,
    key_not_found,
)
from services.keys.domain.audit import AUDIT_LOG, AuditRecorded
from services.keys.domain.users import (
    FREE_PLAN,
    REGISTRATION,
    USER,
    Register,
    Role,
    User,
    UserEvent,
    UserRegistered,
)

Event = UserEvent | KeyEvent | AuditRecorded
AGGREGATES = (USER, API_KEY, AUDIT_LOG)

__all__ = [
    "AGGREGATES",
    "API_KEY",
    "AUDIT_LOG",
    "FREE_PLAN",
    "KEYS",
    "REGISTRATION",
    "USER",
    "ApiKey",
    "AuditRecorded",
    "CreateKey",
    "Creator",
    "Event",
    "KeyCreated",
    "KeyEvent",
    "KeyRevoked",
    "Register",
    "RevokeKey",
    "Role",
    "Scope",
    "User",
    "UserEvent",
    "UserRegistered",
    "key_not_found",
]
