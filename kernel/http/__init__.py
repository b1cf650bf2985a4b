"""HTTP parts of a service: app factory, errors, internal identity, idempotency, health."""

from kernel.http.app import create_app, problem
from kernel.http.client import Client, FromClient
from kernel.http.idempotency import Attempt, Idempotency, Replay, Resumed, idempotency_key
from kernel.http.identity import Caller, Identity, InternalTokens

__all__ = [
    "Attempt",
    "Caller",
    "Client",
    "FromClient",
    "Idempotency",
    "Identity",
    "InternalTokens",
    "Replay",
    "Resumed",
    "create_app",
    "idempotency_key",
    "problem",
]
