"""HTTP in: accounts and sign-in, API keys, second factors, and what the gateway alone asks."""

from services.keys.api.accounts import account_routes
from services.keys.api.api_keys import api_key_routes
from services.keys.api.mfa import mfa_routes
from services.keys.api.resolve import resolve_routes

__all__ = ["account_routes", "api_key_routes", "mfa_routes", "resolve_routes"]
