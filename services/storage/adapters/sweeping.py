"""The sweep: a look for orphans that reports, and deletes objects without a row where it is told
to."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from kernel.clock import Clock
from kernel.objects import ObjectStore
from kernel.sql import Database
from kernel.telemetry.metrics import REGISTRY
from services.storage.adapters.orphans import Kind, Orphans
from services.storage.adapters.rounds import RoundRecords

ROUND: Final = "orphans"
EVERY: Final = timedelta(days=1)
NAMED_MAX: Final = 100
"""In the log of one look; all are counted, and the command line names all."""
SERVICE: Final = "storage"

ORPHANS: Final = Gauge(
    "smartspec_storage_orphans",
    "What the last look at all objects found, by kind: object without row, row without object,"
    " quota that is not what it counts.",
    ("service", "type"),
    registry=REGISTRY,
)
LOOK_AGE: Final = Gauge(
    "smartspec_storage_orphans_age_seconds",
    "Since the last look at all objects ended, of whichever process.",
    ("service",),
    registry=REGISTRY,
)

_log = structlog.get_logger(__name__)


class Sweeping:
    """The daily look, which only reports."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._records = RoundRecords(database)

    async def look(self) -> None:
        orphans = Orphans(self._database, self._objects, self._clock)
        counts: Counter[Kind] = Counter()
        async for finding in orphans.found():
            counts[finding.kind] += 1
            if counts.total() <= NAMED_MAX:
                _log.warning(
                    "storage_orphan", kind=finding.kind, fault=finding.fault, name=finding.name
                )
        at = self._clock.now().isoformat()
        await self._records.see(ROUND, {"at": at, **{kind.value: counts[kind] for kind in Kind}})
        _log.info("storage_looked_at", found=counts.total(), looked_at=orphans.figures.words())

    async def show(self) -> None:
        """The gauges, from the record: each replica says the same."""
        seen = await self._records.seen(ROUND)
        if "at" not in seen:
            return
        for kind in Kind:
            ORPHANS.labels(SERVICE, kind.value).set(seen.get(kind.value, 0))
        age = self._clock.now() - datetime.fromisoformat(seen["at"])
        LOOK_AGE.labels(SERVICE).set(max(0.0, age.total_seconds()))


async def swept(
    orphans: Orphans,
    say: Callable[[str], object],
    delete: Callable[[str], Awaitable[None]] | None = None,
) -> tuple[int, str]:
    """One look, as an exit status and a summary; each finding is said as it is found.

    With `delete`, it is called for each object that no row names, which then is no finding.
    """
    wrong = deleted = 0
    async for finding in orphans.found():
        if delete is not None and finding.kind is Kind.OBJECT:
            await delete(finding.name)
            deleted += 1
            say(f"sweep: deleted: {finding.words()}")
        else:
            wrong += 1
            say(f"sweep: {finding.words()}")
    state = f"{wrong} findings" if wrong else "whole"
    more = f"{deleted} objects deleted, " if deleted else ""
    return (1 if wrong else 0), f"sweep: {state}: {more}{orphans.figures.words()}"
