"""HTTP in: accounts and sign-in, API keys, and what the gateway alone asks."""

from services.keys.api.accounts import account_routes
from services.keys.api.api_keys import api_key_routes
from services.keys.api.resolve import resolve_routes

__all__ = ["account_routes", "api_key_routes", "resolve_routes"]
