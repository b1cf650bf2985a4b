"""Which pages of other origins may call the API from a browser (Fetch standard, CORS); none unless
the operator names them."""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

PREFLIGHT_KEPT_S: Final = 600
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SENT: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    "Traceparent",
    "X-API-Key",
    "X-MFA-Token",
    "X-Request-ID",
)
"""What a page may send."""
SHOWN: Final = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)
"""What a page may read of an answer."""


def for_origins(edge: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """`edge`, open to pages of `origins`. Credentials are headers that a page must send itself:
    cookies are never asked for."""
    if not origins:
        return edge
    return CORSMiddleware(
        edge,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=SHOWN,
        max_age=PREFLIGHT_KEPT_S,
    )
