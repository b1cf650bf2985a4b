"""A request as a service answers it: its origin, its span, and what `/metrics` counts of it."""

from functools import lru_cache
from time import monotonic
from types import TracebackType
from typing import Final, Self

from prometheus_client import Counter, Histogram

from kernel.context import caused_by, origin_of_request
from kernel.telemetry import tracing
from kernel.telemetry.metrics import REQUEST_DURATION, REQUESTS

UNMATCHED: Final = "unmatched"
OTHER_METHOD: Final = "_OTHER"
"""A method that is none of HTTP's, in OpenTelemetry's words: a client may send any."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SERIES_MAX: Final = 4_096
NOT_ANSWERED: Final = 500
"""What the server says for an app that raised before it answered."""


@lru_cache(maxsize=SERIES_MAX)
def _series(service: str, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Kept, because finding a series by its labels costs more than counting."""
    return (
        REQUESTS.labels(service, method, route, status),
        REQUEST_DURATION.labels(service, method, route),
    )


class ServedRequest:
    """`with ServedRequest(...) as request:` around everything that a service does for it.

    Whoever routes the request sets `route` (the template: a path may hold ids and signatures), and
    whoever answers it sets `status`.
    """

    __slots__ = ("_began_s", "_inside", "_method", "_service", "_span", "origin", "route", "status")

    def __init__(
        self, service: str, method: str, request_id: str | None, traceparent: str | None
    ) -> None:
        self._service = service
        self._method = method if method in METHODS else OTHER_METHOD
        self.origin = origin_of_request(request_id, traceparent, sampled=tracing.is_on())
        self.route: str | None = None
        self.status: int | None = None
        begins = self.origin.traceparent != traceparent
        self._span = tracing.serving(service, self._method, self.origin, begins=begins)
        if self._span is not None:
            self.origin = self._span.origin
        self._inside = caused_by(self.origin, service)
        self._began_s = monotonic()

    def __enter__(self) -> Self:
        self._inside.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside.__exit__(kind, error, traceback)
        status = NOT_ANSWERED if self.status is None else self.status
        ended, took = _series(self._service, self._method, self.route or UNMATCHED, status)
        ended.inc()
        took.observe(monotonic() - self._began_s)
        if self._span is not None:
            self._span.end(self.route, status, error)
