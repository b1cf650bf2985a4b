"""Why something happens: the request or message that led here, carried along by a context variable.

Set at each edge (an HTTP request, a message, a due row), read by the event store (metadata of what
is written) and by the logs (which line belongs to which request). While a span runs, the origin's
`traceparent` is that span's, so what is written or sent inside names it as its parent.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import structlog

from contracts.envelope import Envelope
from kernel.clock import new_id, random_token

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Origin:
    """`correlation_id` is one request's id in every service that it touches; `causation_id` is the
    message that led here; `traceparent` is W3C Trace Context's header, there for everything that
    began with a request, whether spans are exported or not."""

    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None


_CURRENT: ContextVar[Origin | None] = ContextVar("origin", default=None)


def given_origin() -> Origin | None:
    """The origin of what runs now, None for work that nobody asked for."""
    return _CURRENT.get()


def current_origin() -> Origin:
    """The origin of what runs now; work that nobody asked for gets ids of its own."""
    origin = _CURRENT.get()
    if origin is None:
        return Origin(f"self-{new_id().hex}", None, _new_traceparent(sampled=False))
    return origin


@contextmanager
def with_traceparent(traceparent: str, origin: Origin) -> Iterator[None]:
    """Everything inside has `traceparent` as its parent, and is on behalf of `origin` otherwise."""
    token = _CURRENT.set(replace(origin, traceparent=traceparent))
    try:
        yield
    finally:
        _CURRENT.reset(token)


class caused_by:  # noqa: N801 - it is called like the function that it would be at three times the cost
    """Everything inside is on behalf of `origin`, in `service`: events, messages and log lines
    say so."""

    __slots__ = ("_origin", "_service", "_token", "_words")

    def __init__(self, origin: Origin, service: str) -> None:
        self._origin = origin
        self._service = service

    def __enter__(self) -> None:
        origin = self._origin
        self._token = _CURRENT.set(origin)
        words = {"request_id": origin.correlation_id, "service": self._service}
        if origin.traceparent is not None:
            words["trace_id"] = origin.traceparent.split("-")[1]
        self._words = structlog.contextvars.bind_contextvars(**words)

    def __exit__(self, *_: object) -> None:
        structlog.contextvars.reset_contextvars(**self._words)
        _CURRENT.reset(self._token)


def origin_of_message(envelope: Envelope) -> Origin:
    """A traceparent that is none is left out: whatever a broker brings, the message is handled."""
    traceparent = envelope.traceparent
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    return Origin(envelope.correlationid, str(envelope.id), traceparent)


def origin_of_request(
    request_id: str | None, traceparent: str | None, *, sampled: bool = False
) -> Origin:
    """Accept the client's ids when they are well-formed, else make them; `sampled` tells those
    further on that the trace made here is being exported."""
    if request_id is None or not _WELL_FORMED_ID.fullmatch(request_id):
        request_id = f"req_{new_id().hex}"
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        traceparent = _new_traceparent(sampled=sampled)
    return Origin(request_id, None, traceparent)


def _new_traceparent(*, sampled: bool) -> str:
    """Of a trace that begins here (W3C Trace Context, 3.2.2): 16 and 8 random bytes."""
    ids = random_token(24).hex()
    return f"00-{ids[:32]}-{ids[32:]}-{'01' if sampled else '00'}"
