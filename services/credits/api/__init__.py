"""HTTP in: request -> command, query -> response."""

from services.credits.api.balances import balance_routes
from services.credits.api.codes import Codes, code_routes, redeem_routes
from services.credits.api.explanations import explanation_routes
from services.credits.api.plans import plan_routes, subscription_routes
from services.credits.api.postings import Postings, posting_routes
from services.credits.api.proofs import proof_routes
from services.credits.api.reconciliation import reconciliation_routes
from services.credits.api.usage import usage_routes

__all__ = [
    "Codes",
    "Postings",
    "balance_routes",
    "code_routes",
    "explanation_routes",
    "plan_routes",
    "posting_routes",
    "proof_routes",
    "reconciliation_routes",
    "redeem_routes",
    "subscription_routes",
    "usage_routes",
]
