"""HTTP in: request -> command, query -> response."""

from services.credits.api.balances import balance_routes
from services.credits.api.reconciliation import reconciliation_routes

__all__ = ["balance_routes", "reconciliation_routes"]
