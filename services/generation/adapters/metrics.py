"""What generation counts of its providers. No label holds an id."""

from typing import Final

from prometheus_client import Counter, Histogram

from kernel.telemetry.metrics import REGISTRY

BREAKERS_OPENED: Final = Counter(
    "smartspec_provider_breakers_opened_total",
    "Times that a provider was left alone because it did not answer, by whose key (platform or"
    " own) and what was asked (submits or looks).",
    ("provider", "key", "asked"),
    registry=REGISTRY,
)
ATTEMPTS_FAILED: Final = Counter(
    "smartspec_provider_attempts_failed_total",
    "Attempts that surely came to nothing and were followed by another one, by fault.",
    ("provider", "fault"),
    registry=REGISTRY,
)
UNKNOWN_OUTCOMES: Final = Counter(
    "smartspec_provider_unknown_outcomes_total",
    "Submits whose answer was lost, by what came of it: lost, found or given_up.",
    ("provider", "outcome"),
    registry=REGISTRY,
)
LOOKS_LATE: Final = Histogram(
    "smartspec_provider_look_lateness_seconds",
    "How much later than it was due a provider job was looked at.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
    registry=REGISTRY,
)


def key_label(lane: str) -> str:
    """Whose key a lane is of."""
    return "own" if ":" in lane else "platform"
