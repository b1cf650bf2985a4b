"""From a refusal, or a service's own error, to what the client of a surface is told."""

import json
from http import HTTPStatus
from typing import Final

from kernel.errors import Error
from services.gateway.adapters.request_headers import Header
from services.gateway.api.refusals import MethodNotAllowed
from services.gateway.surfaces import Fault, Surface

JSON: Final = b"application/json"
NO_STORE: Final[Header] = (b"cache-control", b"no-store")
CHALLENGE: Final = b'Bearer realm="smartspec"'
UNAUTHENTICATED: Final = 401
_CODES: Final = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "access_denied",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid_request",
    429: "rate_limited",
    500: "internal_error",
    502: "bad_gateway",
    503: "unavailable",
    504: "timed_out",
}


def fault_of(error: Error) -> Fault:
    return Fault(error.status, error.code, error.message, error.details)


def fault_in(status: int, body: bytes | bytearray) -> Fault:
    """What a service says in the native form; else no more than the status itself says."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        code, message, details = said.get("error"), said.get("message"), said.get("details", {})
        if isinstance(code, str) and isinstance(message, str) and isinstance(details, dict):
            return Fault(status, code, message, details)
    return Fault(status, _CODES.get(status, "error"), _phrase(status))


def body_of(surface: Surface, fault: Fault) -> bytes:
    return json.dumps(surface.render(fault), ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(error: Error) -> list[Header]:
    """What the status of a refusal asks for (RFC 9110: `Retry-After`, `Allow`, the challenge)."""
    headers: list[Header] = [NO_STORE]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    if error.status == UNAUTHENTICATED:
        headers.append((b"www-authenticate", CHALLENGE))
    return headers


def _phrase(status: int) -> str:
    try:
        return f"{HTTPStatus(status).phrase}."
    except ValueError:
        return "The request failed."
