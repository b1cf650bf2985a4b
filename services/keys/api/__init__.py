"""HTTP in: accounts and sign-in, API keys, second factors, and what the gateway alone asks."""

from services.keys.api.accounts import account_routes
from services.keys.api.admin_keys import admin_key_routes
from services.keys.api.admin_users import admin_user_routes
from services.keys.api.api_keys import KeyCreation, api_key_routes
from services.keys.api.key_audit import key_audit_routes
from services.keys.api.key_changes import KeyChanges, RequireProof
from services.keys.api.key_uses import key_use_routes
from services.keys.api.key_views import KeyViews
from services.keys.api.live_sessions import live_session_routes
from services.keys.api.mailed_links import mailed_link_routes
from services.keys.api.mfa import mfa_routes
from services.keys.api.provider_keys import provider_key_routes, resolve_provider_key_routes
from services.keys.api.resolve import resolve_routes
from services.keys.api.sign_ins import sign_in_routes

__all__ = [
    "KeyChanges",
    "KeyCreation",
    "KeyViews",
    "RequireProof",
    "account_routes",
    "admin_key_routes",
    "admin_user_routes",
    "api_key_routes",
    "key_audit_routes",
    "key_use_routes",
    "live_session_routes",
    "mailed_link_routes",
    "mfa_routes",
    "provider_key_routes",
    "resolve_provider_key_routes",
    "resolve_routes",
    "sign_in_routes",
]
