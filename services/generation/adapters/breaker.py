"""Circuit breakers: a vendor that does not answer is left alone for a while, then tried once.

One for each lane, in the memory of this process: other replicas find out for themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from kernel.telemetry.metrics import child
from services.generation.adapters.metrics import BREAKERS_OPENED, key_label

FAILURES_MAX: Final = 5
"""In a row."""
OPEN_FIRST_S: Final = 5.0
OPEN_MAX_S: Final = 60.0
PROBE_FOR: Final = timedelta(seconds=60)
"""A probe of which nothing is heard for so long is forgotten."""
LANES_MAX: Final = 10_000

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    times_open: int = 0
    open_until: datetime | None = None
    probed_at: datetime | None = None


class Breakers:
    """`name` is what is asked, for the log: submits or looks."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lanes: dict[str, _Breaker] = {}

    def room(self, lane: str, now: datetime) -> int | None:
        """How many questions may leave now: 0 while it is open, 1 to try, None for any number."""
        breaker = self._lanes.get(lane)
        if breaker is None or breaker.open_until is None:
            return None
        if now < breaker.open_until:
            return 0
        probed_at = breaker.probed_at
        return 0 if probed_at is not None and now < probed_at + PROBE_FOR else 1

    def asked(self, lane: str, now: datetime) -> None:
        """A question leaves: the one that is tried, where the breaker is open."""
        breaker = self._lanes.get(lane)
        if breaker is not None and breaker.open_until is not None:
            breaker.probed_at = now

    def open_until(self, now: datetime) -> Mapping[str, datetime]:
        """The lanes that are left alone now, each until when."""
        return {
            lane: breaker.open_until
            for lane, breaker in self._lanes.items()
            if breaker.open_until is not None and now < breaker.open_until
        }

    def reopens_at(self, lane: str, now: datetime) -> datetime:
        """When to ask next in a lane that has no room."""
        breaker = self._lanes.get(lane)
        until = None if breaker is None else breaker.open_until
        return max(until or now, now + timedelta(seconds=1))

    def answered(self, lane: str) -> None:
        """The vendor is there, whatever it said."""
        if self._lanes.pop(lane, None) is not None:
            _log.info("breaker_closed", lane=lane, of=self._name)

    def failed(self, lane: str, now: datetime) -> None:
        """The vendor could not be reached, or did not answer."""
        if lane not in self._lanes and len(self._lanes) >= LANES_MAX:
            self._lanes.clear()
        breaker = self._lanes.setdefault(lane, _Breaker())
        breaker.failures += 1
        probe_failed = breaker.probed_at is not None
        if breaker.failures < FAILURES_MAX or (breaker.open_until is not None and not probe_failed):
            return
        open_s = min(OPEN_MAX_S, OPEN_FIRST_S * 2**breaker.times_open)
        breaker.times_open = min(breaker.times_open + 1, 16)
        breaker.open_until, breaker.probed_at = now + timedelta(seconds=open_s), None
        child(BREAKERS_OPENED, lane.partition(":")[0], key_label(lane), self._name).inc()
        _log.warning("breaker_opened", lane=lane, of=self._name, open_s=open_s)
