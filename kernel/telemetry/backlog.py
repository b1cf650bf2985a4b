"""What a service has not said and not done yet: depth and age of its outbox and inbox.

Read from the tables, so that rows whose process has died are in it; each replica of a service says
the same, so take the maximum and not the sum.
"""

import asyncio
from typing import Final

import asyncpg
import structlog

from kernel.sql import DATABASE_AWAY, Database
from kernel.telemetry.metrics import INBOX_AGE, INBOX_MESSAGES, OUTBOX_AGE, OUTBOX_PENDING

READ_EVERY_S: Final = 5.0
COUNTED_MAX: Final = 10_000
"""Counting goes no further: whoever is so far behind needs no exact figure."""
READ_TIMEOUT_S: Final = 2.0
STATES: Final = ("retry", "parked")

_log = structlog.get_logger(__name__)


class Backlog:
    """The gauges of one service; they are left out while they can't be read."""

    def __init__(
        self, service: str, database: Database, schema: str, every_s: float = READ_EVERY_S
    ) -> None:
        self._service = service
        self._database = database
        self._every_s = every_s
        self._query = _query(schema)

    async def run(self) -> None:
        """Until cancelled; then nothing is said of this service any more."""
        try:
            while True:
                try:
                    await self.read()
                except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                    self.forget()
                    _log.warning("backlog_unread", error=type(error).__name__)
                await asyncio.sleep(self._every_s)
        finally:
            self.forget()

    async def read(self) -> None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._query, timeout=READ_TIMEOUT_S)
        assert row is not None, "an aggregate has a row"
        OUTBOX_PENDING.labels(self._service).set(row["outbox"])
        OUTBOX_AGE.labels(self._service).set(row["outbox_age_s"])
        for state in STATES:
            INBOX_MESSAGES.labels(self._service, state).set(row[state])
            INBOX_AGE.labels(self._service, state).set(row[f"{state}_age_s"])

    def forget(self) -> None:
        """An old figure would look like a good one."""
        for gauge in (OUTBOX_PENDING, OUTBOX_AGE):
            gauge.remove_by_labels({"service": self._service})
        for gauge in (INBOX_MESSAGES, INBOX_AGE):
            gauge.remove_by_labels({"service": self._service})


def _query(schema: str) -> str:
    """One round trip over short indexes: the outbox's key, and the partial ones of the inbox."""
    oldest = f"SELECT created_at FROM {schema}.outbox ORDER BY id LIMIT {COUNTED_MAX}"
    age = _age("extract(epoch FROM min(created_at))")
    return f"""
        SELECT outbox.*, retry.*, parked.* FROM
            (SELECT count(*) AS outbox, {age} AS outbox_age_s FROM ({oldest}) AS rows) AS outbox,
            ({_kept(schema, "retry")}) AS retry,
            ({_kept(schema, "parked")}) AS parked"""


def _kept(schema: str, state: str) -> str:
    """An id begins with the milliseconds at which the message's event was recorded (UUIDv7)."""
    rows = f"SELECT message_id FROM {schema}.inbox WHERE state = '{state}' LIMIT {COUNTED_MAX}"
    first = "translate(left(min(message_id::text), 13), '-', '')"
    age = _age(f"('x' || {first})::bit(48)::bigint / 1000.0")
    return f"SELECT count(*) AS {state}, {age} AS {state}_age_s FROM ({rows}) AS rows"


def _age(born_s: str) -> str:
    now_s = "extract(epoch FROM clock_timestamp())"
    return f"coalesce(greatest(0, {now_s} - {born_s}), 0)::float8"
