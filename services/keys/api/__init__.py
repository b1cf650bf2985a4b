"""HTTP in: accounts and sign-in, API keys, second factors, and what the gateway alone asks."""

from services.keys.api.accounts import account_routes
from services.keys.api.admin_keys import admin_key_routes
from services.keys.api.api_keys import KeyCreation, api_key_routes
from services.keys.api.key_changes import KeyChanges, RequireProof
from services.keys.api.key_uses import key_use_routes
from services.keys.api.key_views import KeyViews
from services.keys.api.mfa import mfa_routes
from services.keys.api.resolve import resolve_routes

__all__ = [
    "KeyChanges",
    "KeyCreation",
    "KeyViews",
    "RequireProof",
    "account_routes",
    "admin_key_routes",
    "api_key_routes",
    "key_use_routes",
    "mfa_routes",
    "resolve_routes",
]
