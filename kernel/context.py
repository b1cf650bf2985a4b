"""Why something happens: the request or message that led here, carried along by a context variable.

Set at each edge (an HTTP request, a message, a due row), read by the event store (metadata of what
is written) and by the logs (which line belongs to which request).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from contracts.envelope import Envelope
from kernel.clock import new_id

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Origin:
    """`correlation_id` is one request's id in every service that it touches; `causation_id` is the
    message that led here; `traceparent` is W3C Trace Context's header."""

    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None


_CURRENT: ContextVar[Origin | None] = ContextVar("origin", default=None)


def current_origin() -> Origin:
    """The origin of what runs now; work that nobody asked for gets an id of its own."""
    origin = _CURRENT.get()
    return origin if origin is not None else Origin(correlation_id=f"self-{new_id().hex}")


@contextmanager
def caused_by(origin: Origin, service: str) -> Iterator[None]:
    """Everything inside is on behalf of `origin`, in `service`: events, messages and log lines
    say so."""
    token = _CURRENT.set(origin)
    words = {"request_id": origin.correlation_id, "service": service}
    if origin.traceparent is not None:
        words["trace_id"] = origin.traceparent.split("-")[1]
    try:
        with structlog.contextvars.bound_contextvars(**words):
            yield
    finally:
        _CURRENT.reset(token)


def origin_of_message(envelope: Envelope) -> Origin:
    return Origin(envelope.correlationid, str(envelope.id), envelope.traceparent)


def origin_of_request(request_id: str | None, traceparent: str | None) -> Origin:
    """Accept the client's ids when they are well-formed, else make one."""
    if request_id is None or not _WELL_FORMED_ID.fullmatch(request_id):
        request_id = f"req_{new_id().hex}"
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    return Origin(request_id, None, traceparent)
