"""The one table of what can be reached from outside: by whom, with which scope, at which service.

What is not here does not exist for a client; `/internal/...` is never here.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from kernel.rates import RateClass
from services.gateway.surfaces import (
    klikyai_films,
    klikyai_wallet,
    nanobanana,
    nanobanana_images,
    v1_generation,
)
from services.gateway.surfaces.translation import Translation

JSON_BODY_BYTES_MAX: Final = 1_048_576
FILE_BODY_BYTES_MAX: Final = 5 * 10**9 + 65_536
"""A file, and the form around it; it streams through, and storage knows what each may bring."""
VERIFIED_BODY_BYTES_MAX: Final = (64 << 20) + 65_536
"""The same for a file that anybody may bring, without an account."""
GATEWAY: Final = "gateway"


class Auth(Enum):
    """Which credential a route asks for."""

    NONE = "none"
    JWT = "jwt"
    KEY = "key"
    KEY_OR_JWT = "key|jwt"


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is a template: `{name}` is one segment, `{name:path}` the rest (one at least).

    With a `translation` the service is asked in its native words.
    `limit` is the class in which requests are counted, None for no limit; see
    `domain.counted_for`. With `or_scope` that scope will do too: the service knows for what.
    """

    method: str
    path: str
    service: str
    summary: str
    auth: Auth = Auth.KEY_OR_JWT
    scope: str | None = None
    or_scope: str | None = None
    body_bytes_max: int = JSON_BODY_BYTES_MAX
    translation: Translation | None = None
    limit: RateClass | None = RateClass.API


_V2: Final = "/api/v2/generation"

KEYS: Final = (
    Route("POST", "/auth/register", "keys", "Register a user", Auth.NONE, limit=RateClass.AUTH),
    Route("POST", "/auth/login", "keys", "Sign in", Auth.NONE, limit=RateClass.AUTH),
    Route("POST", "/auth/refresh", "keys", "Stay signed in", Auth.NONE, limit=RateClass.AUTH),
    Route("POST", "/auth/logout", "keys", "Sign out", Auth.JWT, limit=RateClass.AUTH),
    Route(
        "POST", "/auth/verify-email", "keys", "Verify an address", Auth.NONE, limit=RateClass.AUTH
    ),
    Route(
        "POST",
        "/auth/password/forgot",
        "keys",
        "Ask for a new password",
        Auth.NONE,
        limit=RateClass.AUTH,
    ),
    Route(
        "POST",
        "/auth/password/reset",
        "keys",
        "Set a new password",
        Auth.NONE,
        limit=RateClass.AUTH,
    ),
    Route("POST", "/auth/firebase", "keys", "Sign in by Firebase", Auth.NONE, limit=RateClass.AUTH),
    Route("GET", "/auth/me", "keys", "The signed-in user", Auth.JWT),
    Route("PATCH", "/auth/me", "keys", "Change the signed-in user", Auth.JWT),
    Route("DELETE", "/auth/me", "keys", "Erase the signed-in user", Auth.JWT, limit=RateClass.AUTH),
    Route("POST", "/api/keys", "keys", "Create an API key", scope="keys:write"),
    Route("GET", "/api/keys", "keys", "List API keys", scope="keys:read"),
    Route("GET", "/api/keys/{key_id}", "keys", "One API key", scope="keys:read"),
    Route("GET", "/api/keys/{key_id}/audit", "keys", "An API key's audit log", scope="keys:read"),
    Route(
        "POST",
        "/api/keys/{key_id}/rotate",
        "keys",
        "Give an API key a new secret",
        Auth.JWT,
        "keys:write",
        limit=RateClass.ROTATION,
    ),
    Route("POST", "/api/keys/{key_id}/revoke", "keys", "Revoke an API key", scope="keys:write"),
    Route("DELETE", "/api/keys/{key_id}", "keys", "Delete an API key", Auth.JWT, "keys:write"),
)
_PROVIDERS: Final = "/api/keys/providers"
PROVIDER_KEYS: Final = (
    Route("GET", _PROVIDERS, "keys", "One's own keys of vendors", Auth.JWT),
    Route("PUT", f"{_PROVIDERS}/{{provider}}", "keys", "Bring a vendor's key", Auth.JWT),
    Route("DELETE", f"{_PROVIDERS}/{{provider}}", "keys", "Take it away", Auth.JWT),
)
_MFA: Final = "/api/keys/mfa"
MFA: Final = (
    Route("GET", f"{_MFA}/status", "keys", "The second factor", Auth.JWT),
    Route("POST", f"{_MFA}/totp/setup", "keys", "Set up an authenticator", Auth.JWT),
    Route(
        "POST",
        f"{_MFA}/totp/verify-setup",
        "keys",
        "Confirm an authenticator",
        Auth.JWT,
        limit=RateClass.MFA,
    ),
    Route("POST", f"{_MFA}/challenge", "keys", "Begin a proof", Auth.JWT, limit=RateClass.MFA),
    Route("POST", f"{_MFA}/verify", "keys", "Prove by a code", Auth.JWT, limit=RateClass.MFA),
    Route("POST", f"{_MFA}/backup-codes/regenerate", "keys", "Renew the backup codes", Auth.JWT),
)
NANOBANANA: Final = (
    Route(
        "POST",
        "/v1/auth/register",
        "keys",
        "Register a user and sign in",
        Auth.NONE,
        limit=RateClass.AUTH,
        translation=nanobanana.REGISTER,
    ),
    Route(
        "POST",
        "/v1/auth/login",
        "keys",
        "Sign in",
        Auth.NONE,
        limit=RateClass.AUTH,
        translation=nanobanana.LOG_IN,
    ),
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
    Route(
        "POST",
        "/v1/generate",
        "generation",
        "Generate an image and answer with it",
        Auth.KEY,
        "generation:create",
        limit=RateClass.GENERATION,
        translation=nanobanana_images.GENERATE,
    ),
)
GENERATION: Final = (
    Route(
        "POST",
        f"{_V2}/generate",
        "generation",
        "Create a task",
        scope="generation:create",
        limit=RateClass.GENERATION,
    ),
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
    Route(
        "GET",
        f"{_V2}/tasks/{{task_id}}/events",
        "generation",
        "Follow a task",
        scope="generation:read",
    ),
    Route("GET", f"{_V2}/outcomes", "generation", "Who pays for what", scope="generation:read"),
    Route(
        "POST",
        f"{_V2}/callbacks/{{provider}}/{{token}}",
        "generation",
        "Where vendors say that a job may have ended",
        Auth.NONE,
        limit=None,
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
    Route(
        "GET", f"{_V2}/credits/history.csv", "credits", "The ledger as CSV", scope="credits:read"
    ),
    Route("GET", f"{_V2}/credits/proof", "credits", "What adds up to it", scope="credits:read"),
    Route(
        "GET",
        f"{_V2}/credits/explain/{{task_id}}",
        "credits",
        "Why a task was charged",
        scope="credits:read",
    ),
    Route("GET", f"{_V2}/usage", "credits", "What credits were used for", scope="credits:read"),
    Route(
        "POST",
        f"{_V2}/credits/redeem",
        "credits",
        "Redeem a code",
        Auth.JWT,
        limit=RateClass.AUTH,
    ),
)
KLIKYAI: Final = (
    Route(
        "GET",
        "/wallet",
        "credits",
        "The balance",
        Auth.JWT,
        translation=klikyai_wallet.WALLET,
    ),
    Route(
        "GET",
        "/wallet/transactions",
        "credits",
        "What came and went",
        Auth.JWT,
        translation=klikyai_wallet.TRANSACTIONS,
    ),
)
_FILMS: Final = "/ai"
FILMS: Final = (
    Route(
        "GET",
        f"{_FILMS}/heygen/avatars",
        "generation",
        "List avatars",
        scope="generation:read",
        translation=klikyai_films.AVATARS,
    ),
    Route(
        "GET",
        f"{_FILMS}/heygen/voices",
        "generation",
        "List voices",
        scope="generation:read",
        translation=klikyai_films.VOICES,
    ),
    Route(
        "POST",
        f"{_FILMS}/heygen/avatar-video-generation",
        "generation",
        "Make a film of an avatar",
        scope="generation:create",
        limit=RateClass.GENERATION,
        translation=klikyai_films.AVATAR_VIDEO,
    ),
    Route(
        "POST",
        f"{_FILMS}/leonardo/video-generation",
        "generation",
        "Make a film",
        scope="generation:create",
        limit=RateClass.GENERATION,
        translation=klikyai_films.LEONARDO_VIDEO,
    ),
    Route(
        "GET",
        f"{_FILMS}/videos/{{video_id}}",
        "generation",
        "One film",
        scope="generation:read",
        translation=klikyai_films.VIDEO,
    ),
)
_V1: Final = "/api/generation"
V1_GENERATION: Final = (
    Route(
        "POST",
        f"{_V1}/generate",
        "generation",
        "Create a task",
        scope="generation:create",
        limit=RateClass.GENERATION,
        translation=v1_generation.CREATE,
    ),
    Route(
        "GET",
        f"{_V1}/tasks/{{task_id}}",
        "generation",
        "One task",
        scope="generation:read",
        translation=v1_generation.TASK,
    ),
    Route(
        "GET",
        f"{_V1}/models",
        "generation",
        "List models",
        scope="generation:read",
        translation=v1_generation.LIST_MODELS,
    ),
)
# A signed link is its own credential: storage checks it.
STORAGE: Final = (
    Route(
        "GET",
        "/media/{key:path}",
        "storage",
        "Open a signed link",
        Auth.NONE,
        limit=RateClass.DOWNLOAD,
    ),
    Route(
        "HEAD",
        "/media/{key:path}",
        "storage",
        "Look at a signed link",
        Auth.NONE,
        limit=RateClass.DOWNLOAD,
    ),
    Route(
        "PUT",
        "/media/{key:path}",
        "storage",
        "Put a file by a signed link",
        Auth.NONE,
        body_bytes_max=FILE_BODY_BYTES_MAX,
        limit=RateClass.UPLOAD,
    ),
)
FILES_PATH: Final = "/api/v2/storage/files/"
_STORE: Final = "/api/v2/storage"
FILES: Final = (
    Route(
        "POST",
        f"{_STORE}/upload",
        "storage",
        "Upload a file",
        scope="storage:write",
        body_bytes_max=FILE_BODY_BYTES_MAX,
        limit=RateClass.UPLOAD,
    ),
    Route(
        "POST",
        f"{_STORE}/upload-from-url",
        "storage",
        "Upload what an address holds",
        scope="storage:write",
        limit=RateClass.UPLOAD,
    ),
    Route(
        "POST",
        f"{_STORE}/presigned-url",
        "storage",
        "A link to get or to put a file",
        scope="storage:read",
        or_scope="storage:write",
        limit=RateClass.DOWNLOAD,
    ),
    Route(
        "POST",
        f"{_STORE}/confirm-upload",
        "storage",
        "Keep what was put by a link",
        scope="storage:write",
    ),
    Route("GET", f"{_STORE}/files", "storage", "List files", scope="storage:read"),
    Route(
        "GET",
        f"{FILES_PATH}{{key:path}}",
        "storage",
        "Download a file",
        scope="storage:read",
        limit=RateClass.DOWNLOAD,
    ),
    Route(
        "HEAD",
        f"{FILES_PATH}{{key:path}}",
        "storage",
        "Look at a file",
        scope="storage:read",
        limit=RateClass.DOWNLOAD,
    ),
    Route(
        "DELETE", f"{FILES_PATH}{{key:path}}", "storage", "Delete a file", scope="storage:delete"
    ),
    Route("GET", f"{_STORE}/usage", "storage", "What files take up", scope="storage:read"),
    Route(
        "POST",
        f"{_STORE}/verify",
        "storage",
        "Ask if a file was generated here",
        Auth.NONE,
        body_bytes_max=VERIFIED_BODY_BYTES_MAX,
        limit=RateClass.ANONYMOUS,
    ),
)
_USERS: Final = "/api/admin/users"
ADMIN_USERS: Final = (
    Route("GET", _USERS, "keys", "List users", Auth.JWT, "admin"),
    Route("POST", f"{_USERS}/{{user_id}}/disable", "keys", "Shut a user out", Auth.JWT, "admin"),
)
_CREDITS: Final = "/api/admin/credits"
ADMIN_CREDITS: Final = (
    Route("POST", f"{_CREDITS}/grants", "credits", "Grant, adjust, refund", Auth.JWT, "admin"),
    Route("GET", f"{_CREDITS}/plans", "credits", "List plans", Auth.JWT, "admin"),
    Route("PUT", f"{_CREDITS}/plans/{{plan_id}}", "credits", "Define a plan", Auth.JWT, "admin"),
    Route("POST", f"{_CREDITS}/codes", "credits", "Issue redeem codes", Auth.JWT, "admin"),
    Route("PUT", f"{_USERS}/{{user_id}}/plan", "credits", "Give a user a plan", Auth.JWT, "admin"),
)
DEAD_LETTERS_PATH: Final = "/api/admin/dead-letters"
ADMIN: Final = (
    Route("GET", f"{_USERS}/{{user_id}}/keys", "keys", "A user's API keys", Auth.JWT, "admin"),
    Route(
        "POST",
        f"{_USERS}/{{user_id}}/keys/{{key_id}}/revoke",
        "keys",
        "Revoke a user's API key",
        Auth.JWT,
        "admin",
    ),
    Route(
        "GET",
        "/api/admin/reconciliation",
        "credits",
        "Open holds against live tasks",
        Auth.JWT,
        "admin",
    ),
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
    Route("GET", "/livez", GATEWAY, "The process answers", Auth.NONE, limit=None),
    Route("GET", "/readyz", GATEWAY, "Requests are taken", Auth.NONE, limit=None),
    Route("GET", "/openapi.json", GATEWAY, "This document", Auth.NONE, limit=RateClass.PAGE),
    Route(
        "GET",
        "/asyncapi.json",
        GATEWAY,
        "What services tell each other",
        Auth.NONE,
        limit=RateClass.PAGE,
    ),
    Route(
        "GET",
        "/.well-known/jwks.json",
        GATEWAY,
        "What verifies access tokens",
        Auth.NONE,
        limit=RateClass.PAGE,
    ),
    Route("GET", "/docs", GATEWAY, "The routes, as a page", Auth.NONE, limit=RateClass.PAGE),
)
ROUTES: Final = (
    *KEYS,
    *PROVIDER_KEYS,
    *MFA,
    *NANOBANANA,
    *GENERATION,
    *CREDITS,
    *KLIKYAI,
    *FILMS,
    *V1_GENERATION,
    *STORAGE,
    *FILES,
    *ADMIN_USERS,
    *ADMIN_CREDITS,
    *ADMIN,
    *OWN,
)
