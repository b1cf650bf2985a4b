"""Measures each day that is over, of every user: what lay there, in byte-hours, said once.

A day is measured some minutes after its end, so that whatever was written on it is there by then.
Days are measured in their order; who dies in between goes on with the same day, and what was said
of it is not said again.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from kernel.event_store import EventStore
from kernel.unit import Unit
from services.storage.adapters.rounds import RoundRecords
from services.storage.domain import MEASUREMENT, MEASUREMENTS, MeasureStorage

ROUND: Final = "measurement"
EVERY: Final = timedelta(minutes=30)
GRACE: Final = timedelta(minutes=10)
"""No command that began on a day is under way for so long after it."""
DAYS_MAX: Final = 62
"""After a longer time without service, the days before are left out: credits takes none that is
older."""
USERS_AT_ONCE: Final = 100
_NOBODY: Final = UUID(int=0)
_DAY: Final = timedelta(days=1)

_FIRST: Final = "SELECT min(since) FROM storage_read.stays"
_LAIN: Final = """
    SELECT stay.user_id,
        coalesce(max(plan.account_id::text), max(stay.account_id::text))::uuid AS account_id,
        sum(size * (extract(epoch FROM least(coalesce(until, $2), $2) - greatest(since, $1))
            * 1000000))::numeric(40, 0) AS byte_microseconds
    FROM storage_read.stays AS stay LEFT JOIN storage.plans AS plan USING (user_id)
    WHERE stay.user_id > $3 AND since < $2 AND (until IS NULL OR until > $1)
        AND NOT EXISTS (SELECT FROM storage.erasures AS gone WHERE gone.user_id = stay.user_id)
    GROUP BY stay.user_id ORDER BY stay.user_id LIMIT $4"""
"""Who has been erased has no account any more that could pay."""

_log = structlog.get_logger(__name__)


class Measuring:
    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._records = RoundRecords(store.database)

    async def measure(self) -> None:
        """Every day that is over and was not measured yet."""
        last = (self._store.clock.now() - GRACE).astimezone(UTC).date() - _DAY
        day = await self._next_day()
        if day is None:
            return
        if day <= last - timedelta(days=DAYS_MAX):
            left_out, day = day, last - timedelta(days=DAYS_MAX - 1)
            _log.error("days_not_measured", since=left_out.isoformat(), until=day.isoformat())
        while day <= last:
            await self._measure(day)
            await self._records.see(ROUND, {"day": day.isoformat()})
            day += _DAY

    async def _next_day(self) -> date | None:
        """None where no file ever lay here."""
        seen = await self._records.seen(ROUND)
        if "day" in seen:
            return date.fromisoformat(seen["day"]) + _DAY
        async with self._store.database.connection() as connection:
            first = await connection.fetchval(_FIRST)
        return None if first is None else first.astimezone(UTC).date()

    async def _measure(self, day: date) -> None:
        begins = datetime.combine(day, time(), UTC)
        after = _NOBODY
        users = unpaid = 0
        while True:
            async with self._store.database.connection() as connection:
                rows = await connection.fetch(_LAIN, *(begins, begins + _DAY, after, USERS_AT_ONCE))
            payable = [row for row in rows if row["account_id"] is not None]
            if payable:
                await self._record(day, payable)
            users += len(rows)
            unpaid += len(rows) - len(payable)
            if len(rows) < USERS_AT_ONCE:
                break
            after = rows[-1]["user_id"]
        level = _log.warning if unpaid else _log.info
        level("storage_measured", day=day.isoformat(), users=users, without_account=unpaid)

    async def _record(self, day: date, rows: Sequence[Any]) -> None:
        streams = {MEASUREMENT.stream_id(row["user_id"]): MEASUREMENT for row in rows}

        async def work(unit: Unit) -> None:
            await unit.load(streams)
            for row in rows:
                command = MeasureStorage(
                    row["user_id"], row["account_id"], day, int(row["byte_microseconds"])
                )
                stream_id = MEASUREMENT.stream_id(row["user_id"])
                await unit.decide(MEASUREMENTS, stream_id, command)

        await self._store.transact(work)
