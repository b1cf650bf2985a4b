"""Hearing: each message has its effects once, in the transaction that records it.

The inbox is also the retry schedule and the list of dead letters, the same on every bus: a few
tries in process, then the row is kept as `retry` with a due time, then as `parked` until somebody
replays it. No handler may depend on order, or on being called once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from contracts.envelope import Envelope, PublicEvent
from kernel.clock import uuid7
from kernel.context import caused_by, origin_of_message
from kernel.errors import Deferred, Error, NotFound, Unavailable
from kernel.event_store import AlreadyHandled, EventStore, MessageKey
from kernel.sql import DATABASE_AWAY, Connection
from kernel.unit import Unit

Handle = Callable[[Any, Unit], Awaitable[object]]
"""Public event -> own command, decided in the unit."""

TRIES_AFTER_S = (0.1, 0.5, 2.0)
RETRIES_AFTER_S = (10, 60, 600, 3_600)
LANES = 64
RETRY_BATCH = 50
RETRY_LEASE = timedelta(seconds=60)
POLL_EVERY_S = 1.0
ERROR_LENGTH_MAX = 500
KEPT_DAYS = 30
PARTITION_DAYS = 7
MAINTAIN_EVERY_S = 3_600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which event goes to which handler; `lane` names the stream that the handler will write, so
    that messages for one stream queue up here instead of in the database."""

    event: type[PublicEvent]
    handle: Handle
    lane: Callable[[Any], str]


class Inbox:
    """What one service hears, as the consumer of its own name."""

    def __init__(
        self,
        consumer: str,
        store: EventStore,
        subscriptions: Sequence[Subscription],
        *,
        tries_after_s: Sequence[float] = TRIES_AFTER_S,
    ) -> None:
        self.consumer = consumer
        self._store = store
        self._tries_after_s = tries_after_s
        self._subscriptions = {item.event.type_name(): item for item in subscriptions}
        self._lanes = [asyncio.Lock() for _ in range(LANES)]

    async def receive(self, envelope: Envelope) -> None:
        """Record the message: done, to be retried, or parked.

        Raises only when it could not be recorded (the database is away): deliver it again.
        """
        with caused_by(origin_of_message(envelope), self.consumer):
            if self._is_too_old(envelope.id):
                _log.warning("message_too_old", message_type=envelope.type)
                return
            error: Exception | None = None
            for delay_s in (0.0, *self._tries_after_s):
                if delay_s:
                    await asyncio.sleep(delay_s)
                error = await self._try(envelope)
                if error is None:
                    return
                if _is_permanent(error):
                    break
            assert error is not None
            await self._keep(envelope, error, attempts=1)

    async def run(self) -> None:
        """Retry what is due, and keep the partitions, until cancelled."""
        next_maintenance = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if loop.time() >= next_maintenance:
                    await self.maintain()
                    next_maintenance = loop.time() + MAINTAIN_EVERY_S
                while await self.retry_due() == RETRY_BATCH:
                    pass
            except (*DATABASE_AWAY, TimeoutError) as error:
                _log.warning("inbox_sweep_failed", error=type(error).__name__)
            await asyncio.sleep(POLL_EVERY_S)

    async def retry_due(self) -> int:
        """Handle again the rows whose time has come; how many were claimed."""
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE {self._store.schema}.inbox SET due_at = $2::timestamptz + $3,
                    attempts = attempts + 1, updated_at = clock_timestamp()
                WHERE (consumer, message_id) IN (
                    SELECT consumer, message_id FROM {self._store.schema}.inbox
                    WHERE consumer = $1 AND state = 'retry' AND due_at <= $2
                    ORDER BY due_at LIMIT {RETRY_BATCH} FOR UPDATE SKIP LOCKED)
                RETURNING envelope, attempts""",
                self.consumer,
                self._store.clock.now(),
                RETRY_LEASE,
            )
        for row in rows:
            envelope = Envelope.model_validate(row["envelope"])
            with caused_by(origin_of_message(envelope), self.consumer):
                error = await self._try(envelope)
                if error is not None:
                    await self._keep(envelope, error, attempts=row["attempts"])
        return len(rows)

    async def parked(self, limit: int = 100) -> list[dict[str, Any]]:
        """Dead letters, oldest first: message_id, attempts, error, envelope."""
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT message_id, attempts, error, envelope FROM {self._store.schema}.inbox"
                " WHERE consumer = $1 AND state = 'parked' ORDER BY message_id LIMIT $2",
                self.consumer,
                limit,
            )
        return [dict(row) for row in rows]

    async def replay(self, message_id: UUID) -> None:
        """Make a parked message due now, its retries counted anew. Raises `NotFound`."""
        async with self._store.database.connection() as connection:
            tag = await connection.execute(
                f"UPDATE {self._store.schema}.inbox"
                " SET state = 'retry', due_at = $3, attempts = 0"
                " WHERE consumer = $1 AND message_id = $2 AND state = 'parked'",
                self.consumer,
                message_id,
                self._store.clock.now(),
            )
        if tag != "UPDATE 1":
            raise NotFound("dead_letter_not_found", "No such dead letter.")

    async def maintain(self) -> None:
        """Make the partitions of the coming weeks, and drop those past `KEPT_DAYS`."""
        async with self._store.database.transaction() as connection:
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext($1))", f"{self._store.schema}.inbox"
            )
            await ensure_partitions(connection, self._store.schema, self._store.clock.now())

    async def _try(self, envelope: Envelope) -> Exception | None:
        """Handle once; the failure, or None when the message is done. Raises `DATABASE_AWAY`."""
        subscription = self._subscriptions.get(envelope.type)
        if subscription is None:
            return LookupError(f"{self.consumer} does not hear {envelope.type}")
        try:
            event = subscription.event.model_validate(envelope.data)
            async with self._lanes[hash(subscription.lane(event)) % LANES]:
                await self._store.transact(
                    lambda unit: subscription.handle(event, unit),
                    message=MessageKey(self.consumer, envelope.id),
                )
        except AlreadyHandled:
            _log.debug("message_repeated", message_type=envelope.type)
        except DATABASE_AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is kept with its message
            _log.warning(
                "message_failed", message_type=envelope.type, error=f"{type(error).__name__}"
            )
            return error
        else:
            _log.info("message_handled", message_type=envelope.type, subject=envelope.subject)
        return None

    async def _keep(self, envelope: Envelope, error: Exception, *, attempts: int) -> None:
        """Write the row as `retry` or `parked`; a row that is done stays done."""
        parked = _is_permanent(error) or attempts > len(RETRIES_AFTER_S)
        due_at = None
        if not parked:
            due_at = self._store.clock.now() + timedelta(seconds=RETRIES_AFTER_S[attempts - 1])
        async with self._store.database.connection() as connection:
            await connection.execute(
                f"""
                INSERT INTO {self._store.schema}.inbox AS known
                    (consumer, message_id, state, attempts, due_at, envelope, error)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (consumer, message_id) DO UPDATE SET state = excluded.state,
                    attempts = excluded.attempts, due_at = excluded.due_at,
                    envelope = excluded.envelope, error = excluded.error,
                    updated_at = clock_timestamp()
                WHERE known.state <> 'done'""",
                self.consumer,
                envelope.id,
                "parked" if parked else "retry",
                attempts,
                due_at,
                envelope.model_dump(mode="json"),
                _words(error),
            )
        log = _log.error if parked else _log.warning
        log("message_parked" if parked else "message_kept", message_type=envelope.type)

    def _is_too_old(self, message_id: UUID) -> bool:
        """Whether its row may have been dropped already, so that a repeat can't be told."""
        oldest = self._store.clock.now() - timedelta(days=KEPT_DAYS)
        return message_id < _first_id_of(oldest)


async def ensure_partitions(connection: Connection, schema: str, now: datetime) -> None:
    """Weekly partitions from `KEPT_DAYS` ago to two weeks ahead; older ones are dropped."""
    first = _week_of(now - timedelta(days=KEPT_DAYS))
    weeks = [first + timedelta(days=PARTITION_DAYS * n) for n in range(8)]
    names = {f"inbox_{week:%Y%m%d}" for week in weeks}
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = $1::regclass",
        f"{schema}.inbox",
    )
    existing = {row["relname"] for row in rows}
    for week in weeks:
        name = f"inbox_{week:%Y%m%d}"
        if name not in existing:
            low, high = _first_id_of(week), _first_id_of(week + timedelta(days=PARTITION_DAYS))
            await connection.execute(
                f"CREATE TABLE {schema}.{name} PARTITION OF {schema}.inbox"
                f" FOR VALUES FROM ('{low}') TO ('{high}')"
            )
    for name in existing - names:
        if name < min(names):
            await connection.execute(f"DROP TABLE {schema}.{name}")


def _week_of(moment: datetime) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.toordinal() % PARTITION_DAYS)


def _first_id_of(moment: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond."""
    return uuid7(int(moment.timestamp() * 1000), 0, 0)


def _is_permanent(error: Exception) -> bool:
    """Trying again can't help: the message is malformed, or the domain refuses it."""
    if isinstance(error, Unavailable):
        return False
    return isinstance(error, (Error, ValidationError, LookupError))


def _words(error: Exception) -> str:
    """What an operator reads beside a dead letter; a validation error's input is left out."""
    if isinstance(error, ValidationError):
        words = "; ".join(f"{item['loc']}: {item['msg']}" for item in error.errors())
    else:
        words = f"{type(error).__name__}: {error}"
    return words[:ERROR_LENGTH_MAX]


__all__ = ["Deferred", "Inbox", "Subscription", "ensure_partitions"]
