"""The one table of what can be reached from outside: by whom, with which scope, at which service.

What is not here does not exist for a client; `/internal/...` is never here.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from services.gateway.surfaces import nanobanana
from services.gateway.surfaces.translation import Translation

JSON_BODY_BYTES_MAX: Final = 1_048_576
GATEWAY: Final = "gateway"


class Auth(Enum):
    """Which credential a route asks for."""

    NONE = "none"
    JWT = "jwt"
    KEY_OR_JWT = "key|jwt"


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is a template: `{name}` is one segment, `{name:path}` the rest (one at least).

    With a `translation` the service is asked in its native words.
    """

    method: str
    path: str
    service: str
    summary: str
    auth: Auth = Auth.KEY_OR_JWT
    scope: str | None = None
    body_bytes_max: int = JSON_BODY_BYTES_MAX
    translation: Translation | None = None


_V2: Final = "/api/v2/generation"

KEYS: Final = (
    Route("POST", "/auth/register", "keys", "Register a user", Auth.NONE),
    Route("POST", "/auth/login", "keys", "Sign in", Auth.NONE),
    Route("GET", "/auth/me", "keys", "The signed-in user", Auth.JWT),
    Route("POST", "/api/keys", "keys", "Create an API key", scope="keys:write"),
    Route("GET", "/api/keys", "keys", "List API keys", scope="keys:read"),
    Route("GET", "/api/keys/{key_id}", "keys", "One API key", scope="keys:read"),
    Route("POST", "/api/keys/{key_id}/revoke", "keys", "Revoke an API key", scope="keys:write"),
)
_MFA: Final = "/api/keys/mfa"
MFA: Final = (
    Route("GET", f"{_MFA}/status", "keys", "The second factor", Auth.JWT),
    Route("POST", f"{_MFA}/totp/setup", "keys", "Set up an authenticator", Auth.JWT),
    Route("POST", f"{_MFA}/totp/verify-setup", "keys", "Confirm an authenticator", Auth.JWT),
    Route("POST", f"{_MFA}/challenge", "keys", "Begin a proof", Auth.JWT),
    Route("POST", f"{_MFA}/verify", "keys", "Prove by a code", Auth.JWT),
    Route("POST", f"{_MFA}/backup-codes/regenerate", "keys", "Renew the backup codes", Auth.JWT),
)
NANOBANANA: Final = (
    Route(
        "POST",
        "/v1/auth/register",
        "keys",
        "Register a user and sign in",
        Auth.NONE,
        translation=nanobanana.REGISTER,
    ),
    Route("POST", "/v1/auth/login", "keys", "Sign in", Auth.NONE, translation=nanobanana.LOG_IN),
    Route(
        "POST",
        "/v1/keys",
        "keys",
        "Create an API key",
        Auth.JWT,
        translation=nanobanana.CREATE_KEY,
    ),
    Route("GET", "/v1/keys", "keys", "List API keys", Auth.JWT, translation=nanobanana.LIST_KEYS),
    Route(
        "DELETE",
        "/v1/keys/{key_id}",
        "keys",
        "Revoke an API key",
        Auth.JWT,
        translation=nanobanana.REVOKE_KEY,
    ),
)
GENERATION: Final = (
    Route("POST", f"{_V2}/generate", "generation", "Create a task", scope="generation:create"),
    Route("GET", f"{_V2}/tasks", "generation", "List tasks", scope="generation:read"),
    Route("GET", f"{_V2}/tasks/{{task_id}}", "generation", "One task", scope="generation:read"),
    Route(
        "DELETE",
        f"{_V2}/tasks/{{task_id}}",
        "generation",
        "Cancel or remove a task",
        scope="generation:delete",
    ),
    Route(
        "GET",
        f"{_V2}/tasks/{{task_id}}/wait",
        "generation",
        "Wait for a task",
        scope="generation:read",
    ),
    Route("POST", f"{_V2}/estimate", "generation", "Price a request", scope="generation:read"),
    Route("GET", f"{_V2}/models", "generation", "List models", scope="generation:read"),
    Route(
        "GET",
        f"{_V2}/models/{{model_id:path}}",
        "generation",
        "One model and its options",
        scope="generation:read",
    ),
)
CREDITS: Final = (
    Route("GET", f"{_V2}/credits", "credits", "The balance", scope="credits:read"),
    Route("GET", f"{_V2}/credits/history", "credits", "The ledger", scope="credits:read"),
)
# A signed link is its own credential: storage checks it.
STORAGE: Final = (
    Route("GET", "/media/{key:path}", "storage", "Open a signed link", Auth.NONE),
    Route("HEAD", "/media/{key:path}", "storage", "Look at a signed link", Auth.NONE),
)
DEAD_LETTERS_PATH: Final = "/api/admin/dead-letters"
ADMIN: Final = (
    Route("GET", DEAD_LETTERS_PATH, GATEWAY, "List parked messages", Auth.JWT, "admin"),
    Route(
        "POST",
        f"{DEAD_LETTERS_PATH}/{{message_id}}/replay",
        GATEWAY,
        "Handle a parked message again",
        Auth.JWT,
        "admin",
    ),
)
OWN: Final = (
    Route("GET", "/livez", GATEWAY, "The process answers", Auth.NONE),
    Route("GET", "/readyz", GATEWAY, "Requests are taken", Auth.NONE),
    Route("GET", "/openapi.json", GATEWAY, "This document", Auth.NONE),
    Route("GET", "/asyncapi.json", GATEWAY, "What services tell each other", Auth.NONE),
    Route("GET", "/docs", GATEWAY, "The routes, as a page", Auth.NONE),
)
ROUTES: Final = (*KEYS, *MFA, *NANOBANANA, *GENERATION, *CREDITS, *STORAGE, *ADMIN, *OWN)
