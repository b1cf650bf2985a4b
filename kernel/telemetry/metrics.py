"""What `/metrics` shows: every metric of the kernel, on the one registry of this process.

They are module-level, as is the custom with Prometheus: a metric is a fact about the process, is
counted where no argument reaches (a pool, a loop), and two of one name in a process are a fault.
Tests look at what has been added. Names follow
https://prometheus.io/docs/practices/naming/; no label holds an id of a user, key, task or message,
or anything else that a client may choose.
"""

from functools import lru_cache
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from contracts.events import EVENTS

M = TypeVar("M", Counter, Histogram)

UNKNOWN: Final = "unknown"
CHILDREN_MAX: Final = 1_024

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, read by nobody
REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REQUEST_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""A client may wait for its task for two minutes."""
_AGE_S: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 21_600)
"""The last retry of a message is more than an hour after it was said."""

REQUESTS: Final = Counter(
    "smartspec_http_requests_total",
    "HTTP requests that have ended, by route template and status.",
    ("service", "method", "route", "status"),
    registry=REGISTRY,
)
REQUEST_DURATION: Final = Histogram(
    "smartspec_http_request_duration_seconds",
    "How long an HTTP request took, from its first byte in to its last byte out.",
    ("service", "method", "route"),
    buckets=_REQUEST_S,
    registry=REGISTRY,
)
HANDLED: Final = Counter(
    "smartspec_messages_handled_total",
    "Tries to handle a message, by what came of it: done, repeated, retry or parked.",
    ("consumer", "type", "outcome"),
    registry=REGISTRY,
)
HANDLE_DURATION: Final = Histogram(
    "smartspec_message_handle_duration_seconds",
    "How long one try to handle a message took, its turn in the lane included.",
    ("consumer", "type"),
    buckets=_FAST_S,
    registry=REGISTRY,
)
MESSAGE_AGE: Final = Histogram(
    "smartspec_message_age_seconds",
    "From an event's commit to the commit of its effects at a consumer.",
    ("consumer", "type"),
    buckets=_AGE_S,
    registry=REGISTRY,
)
PUBLISHED: Final = Counter(
    "smartspec_messages_published_total",
    "Tries to publish a message, by what came of it: confirmed or failed.",
    ("service", "type", "outcome"),
    registry=REGISTRY,
)
PUBLISH_DURATION: Final = Histogram(
    "smartspec_publish_duration_seconds",
    "How long the bus took to confirm a message, or to fail.",
    ("service",),
    buckets=_FAST_S,
    registry=REGISTRY,
)
OUTBOX_PENDING: Final = Gauge(
    "smartspec_outbox_pending",
    "Rows of the outbox that are not confirmed and deleted, whichever process wrote them.",
    ("service",),
    registry=REGISTRY,
)
OUTBOX_AGE: Final = Gauge(
    "smartspec_outbox_oldest_age_seconds",
    "Age of the oldest row of the outbox; 0 when there is none.",
    ("service",),
    registry=REGISTRY,
)
INBOX_MESSAGES: Final = Gauge(
    "smartspec_inbox_messages",
    "Messages that were heard and could not be handled, by state: retry or parked.",
    ("service", "state"),
    registry=REGISTRY,
)
INBOX_AGE: Final = Gauge(
    "smartspec_inbox_oldest_age_seconds",
    "Age of the oldest such message, since its event; 0 when there is none.",
    ("service", "state"),
    registry=REGISTRY,
)
LOOP_LAG: Final = Histogram(
    "smartspec_event_loop_lag_seconds",
    "How much later than asked for the event loop woke a sleeper.",
    buckets=_FAST_S,
    registry=REGISTRY,
)
POOL_WAIT: Final = Histogram(
    "smartspec_database_pool_wait_seconds",
    "How long a connection to the database was waited for.",
    buckets=_FAST_S,
    registry=REGISTRY,
)


@lru_cache(maxsize=CHILDREN_MAX)
def child(metric: M, *labels: str) -> M:
    """`metric.labels(...)`, which takes a lock and makes texts of its labels each time."""
    return metric.labels(*labels)


def type_label(message_type: str) -> str:
    """The type as a label: one of the contracts', else one fixed word, so that no sender can make
    series."""
    return message_type if message_type in EVENTS else UNKNOWN
