"""HTTP in: request -> command, query -> response."""

from services.credits.api.balances import balance_routes

__all__ = ["balance_routes"]
