"""The rules of keys: pure, and all that its other files know of them."""

from services.keys.domain.api_keys import (
    API_KEY,
    FIRST_VERSION,
    KEYS,
    ApiKey,
    CreateKey,
    Creator,
    DeleteKey,
    KeyCommand,
    KeyCreated,
    KeyDeleted,
    KeyEvent,
    KeyRevoked,
    KeyRotated,
    RevokeKey,
    RotateKey,
    key_not_found,
)
from services.keys.domain.audit import AUDIT_LOG, AuditRecorded
from services.keys.domain.key_bounds import canonical_range, canonical_rate, class_beyond
from services.keys.domain.scopes import Scope
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
    "FIRST_VERSION",
    "FREE_PLAN",
    "KEYS",
    "REGISTRATION",
    "USER",
    "ApiKey",
    "AuditRecorded",
    "CreateKey",
    "Creator",
    "DeleteKey",
    "Event",
    "KeyCommand",
    "KeyCreated",
    "KeyDeleted",
    "KeyEvent",
    "KeyRevoked",
    "KeyRotated",
    "Register",
    "RevokeKey",
    "Role",
    "RotateKey",
    "Scope",
    "User",
    "UserEvent",
    "UserRegistered",
    "canonical_range",
    "canonical_rate",
    "class_beyond",
    "key_not_found",
]
