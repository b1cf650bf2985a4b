"""Hearing: each message has its effects once, in the transaction that records it.

The inbox is also the retry schedule and the list of dead letters, the same on every bus: a message
that failed is kept at once as `retry` with a due time, so that nobody waits for it; a few tries in
process follow, then those of the schedule, then it is `parked` until somebody replays it. No
handler may depend on order, or on being called once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pydantic import ValidationError

from contracts.envelope import Envelope, PublicEvent
from kernel.context import Origin, caused_by, current_origin, origin_of_message
from kernel.errors import Deferred, Error, NotFound, Unavailable
from kernel.event_store import AlreadyHandled, EventStore, Heard
from kernel.inbox_partitions import KEPT_DAYS, ensure_partitions
from kernel.lanes import BATCH_MAX, Lanes
from kernel.messages import Aggregate
from kernel.sql import DATABASE_AWAY
from kernel.telemetry import tracing
from kernel.telemetry.metrics import HANDLE_DURATION, HANDLED, MESSAGE_AGE, child, type_label
from kernel.unit import Unit

Handle = Callable[[Any, Unit], Awaitable[object]]
"""Public event -> own command, decided in the unit."""

TRIES_AFTER_S = (0.1, 0.5, 2.0)
RETRIES_AFTER_S = (10, 60, 600, 3_600)
TRYING_SOON_MAX = 256
RETRY_BATCH = 50
RETRY_LEASE = timedelta(seconds=60)
POLL_EVERY_S = 1.0
ERROR_LENGTH_MAX = 500
MAINTAIN_EVERY_S = 3_600.0
LAST_TRY_AFTER = timedelta(seconds=60)
KEPT_MS = KEPT_DAYS * 24 * 3_600 * 1_000
CRASHED = "its consumers died of it"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which event goes to which handler; `lane` names the stream that the handler will write, so
    that messages for one stream queue up here instead of in the database, and share a commit.
    `heads` are those that the handler will read: all of a batch are read at once."""

    event: type[PublicEvent]
    handle: Handle
    lane: Callable[[Any], str]
    heads: Callable[[Any], Mapping[str, Aggregate[Any, Any]]] = lambda _: {}


@dataclass(frozen=True, slots=True)
class _Message:
    envelope: Envelope
    event: PublicEvent
    subscription: Subscription
    origin: Origin


class Inbox:
    """What one service hears, as the consumer of its own name."""

    def __init__(
        self,
        consumer: str,
        store: EventStore,
        subscriptions: Sequence[Subscription],
        *,
        tries_after_s: Sequence[float] = TRIES_AFTER_S,
        together_max: int = BATCH_MAX,
    ) -> None:
        """At most `together_max` messages share a commit."""
        self.consumer = consumer
        self._store = store
        self._tries_after_s = tries_after_s
        self._subscriptions = {item.event.type_name(): item for item in subscriptions}
        self._lanes = Lanes(self._handle_together, together_max)
        self._trying_soon: set[asyncio.Task[None]] = set()

    async def receive(self, envelope: Envelope) -> None:
        """Record the message: done, to be retried, or parked.

        Raises only when it could not be recorded (the database is away): deliver it again.
        """
        with caused_by(origin_of_message(envelope), self.consumer):
            if self._is_too_old(envelope.id):
                _log.warning("message_too_old", message_type=envelope.type)
                return
            error = await self._try(envelope)
            if error is None:
                return
            await self._keep(envelope, error)
            if not _is_permanent(error) and len(self._trying_soon) < TRYING_SOON_MAX:
                task = asyncio.create_task(self._try_soon(envelope))
                self._trying_soon.add(task)
                task.add_done_callback(self._trying_soon.discard)

    async def keep_crashed(self, envelope: Envelope) -> None:
        """Keep a message whose handlers died again and again for one last try, then park it.

        A last try, because whoever dies of one message is counted against all that it held. One
        that is done stays done. Raises when it could not be recorded.
        """
        if self._is_too_old(envelope.id):
            return
        _log.error("message_crashed", message_type=envelope.type)
        async with self._store.database.connection() as connection:
            await connection.execute(
                f"INSERT INTO {self._store.schema}.inbox"
                " (consumer, message_id, state, attempts, due_at, envelope, error)"
                " VALUES ($1, $2, 'retry', $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                self.consumer,
                envelope.id,
                len(RETRIES_AFTER_S),
                self._store.clock.now() + LAST_TRY_AFTER,
                envelope.model_dump(mode="json"),
                CRASHED,
            )

    async def run(self) -> None:
        """Retry what is due, and keep the partitions, until cancelled."""
        next_maintenance = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    if loop.time() >= next_maintenance:
                        await self.maintain()
                        next_maintenance = loop.time() + MAINTAIN_EVERY_S
                    while await self.retry_due() == RETRY_BATCH:
                        pass
                except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                    _log.warning("inbox_sweep_failed", error=type(error).__name__)
                await asyncio.sleep(POLL_EVERY_S)
        finally:
            await self._stop_trying_soon()

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
                RETURNING message_id, envelope, attempts""",
                self.consumer,
                self._store.clock.now(),
                RETRY_LEASE,
            )
        for row in rows:
            await self._try_kept(row)
        return len(rows)

    async def _try_kept(self, row: asyncpg.Record) -> None:
        """One more attempt at a row. A row that can't be read, or that was claimed more often than
        it failed (its handlers died with it), is parked."""
        try:
            envelope = Envelope.model_validate(row["envelope"])
        except ValidationError as fault:
            await self._park(row["message_id"], _words(fault))
            return
        if row["attempts"] > len(RETRIES_AFTER_S) + 1:
            await self._park(row["message_id"], CRASHED)
            return
        with caused_by(origin_of_message(envelope), self.consumer):
            error = await self._try(envelope)
            if error is not None:
                await self._put_off(envelope, error, attempts=row["attempts"])

    async def _park(self, message_id: UUID, words: str) -> None:
        _log.error("message_parked", message_id=str(message_id), error=words)
        async with self._store.database.connection() as connection:
            await connection.execute(
                f"UPDATE {self._store.schema}.inbox"
                " SET state = 'parked', due_at = NULL, error = $3, updated_at = clock_timestamp()"
                " WHERE consumer = $1 AND message_id = $2 AND state = 'retry'",
                self.consumer,
                message_id,
                words,
            )

    async def parked(self, limit: int = 100) -> list[dict[str, Any]]:
        """Dead letters, longest parked first: message_id, attempts, error, envelope, parked_at."""
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT message_id, attempts, error, envelope, updated_at AS parked_at"
                f" FROM {self._store.schema}.inbox WHERE consumer = $1 AND state = 'parked'"
                " ORDER BY updated_at, message_id LIMIT $2",
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
        began_s = monotonic()
        try:
            with tracing.handling(self.consumer, envelope):
                event = subscription.event.model_validate(envelope.data)
                await self._lanes.handled(
                    subscription.lane(event),
                    _Message(envelope, event, subscription, current_origin()),
                )
        except AlreadyHandled:
            self._count(envelope, "repeated")
            _log.debug("message_repeated", message_type=envelope.type)
        except Exception as error:
            # Whatever a handler raises is kept with its message, unless the database is away; but
            # for a value that does not fit, asyncpg raises an InterfaceError that is a ValueError.
            if isinstance(error, DATABASE_AWAY) and not isinstance(error, ValueError):
                raise
            _log.warning("message_failed", message_type=envelope.type, error=type(error).__name__)
            return error
        else:
            self._count(envelope, "done")
            _log.info("message_handled", message_type=envelope.type, subject=envelope.subject)
        finally:
            took_s = monotonic() - began_s
            child(HANDLE_DURATION, self.consumer, type_label(envelope.type)).observe(took_s)
        return None

    async def _handle_together(self, messages: Sequence[_Message]) -> None:
        """All in one transaction, each on behalf of its own origin."""
        heads: dict[str, Aggregate[Any, Any]] = {}
        for message in messages:
            heads.update(message.subscription.heads(message.event))

        async def work(unit: Unit) -> None:
            await unit.load(heads)
            for message in messages:
                unit.origin = message.origin
                await message.subscription.handle(message.event, unit)

        ids = [message.envelope.id for message in messages]
        await self._store.transact(work, heard=Heard(self.consumer, ids))

    async def _try_soon(self, envelope: Envelope) -> None:
        """Try a kept message again after each of `tries_after_s`: most that came too early are
        right within a second. Whatever happens here, its row is due in its own time."""
        try:
            for delay_s in self._tries_after_s:
                await asyncio.sleep(delay_s)
                error = await self._try(envelope)
                if error is None:
                    return
                if _is_permanent(error):
                    await self._put_off(envelope, error, attempts=1)
                    return
                self._count(envelope, "retry")
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            _log.warning("inbox_try_failed", error=type(error).__name__)

    async def _stop_trying_soon(self) -> None:
        tasks = list(self._trying_soon)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, envelope: Envelope, error: Exception) -> None:
        """Write the first row of a message, `retry` or `parked`; one that is there stays."""
        state, due_at = self._schedule(error, attempts=1)
        self._count(envelope, state)
        async with self._store.database.connection() as connection:
            await connection.execute(
                f"INSERT INTO {self._store.schema}.inbox"
                " (consumer, message_id, state, attempts, due_at, envelope, error)"
                " VALUES ($1, $2, $3, 1, $4, $5, $6) ON CONFLICT DO NOTHING",
                self.consumer,
                envelope.id,
                state,
                due_at,
                envelope.model_dump(mode="json"),
                _words(error),
            )

    async def _put_off(self, envelope: Envelope, error: Exception, *, attempts: int) -> None:
        """Move the row on to its next due time, or park it, unless somebody else has done so."""
        state, due_at = self._schedule(error, attempts=attempts)
        self._count(envelope, state)
        async with self._store.database.connection() as connection:
            await connection.execute(
                f"UPDATE {self._store.schema}.inbox"
                " SET state = $4, due_at = $5, error = $6, updated_at = clock_timestamp()"
                " WHERE consumer = $1 AND message_id = $2 AND state = 'retry' AND attempts = $3",
                self.consumer,
                envelope.id,
                attempts,
                state,
                due_at,
                _words(error),
            )

    def _count(self, envelope: Envelope, outcome: str) -> None:
        """What came of one try."""
        message_type = type_label(envelope.type)
        child(HANDLED, self.consumer, message_type, outcome).inc()
        if outcome == "done":
            age_s = (self._store.clock.now() - envelope.time).total_seconds()
            child(MESSAGE_AGE, self.consumer, message_type).observe(max(0.0, age_s))

    def _schedule(self, error: Exception, *, attempts: int) -> tuple[str, datetime | None]:
        """The state after so many failed attempts, and when it is due again."""
        if _is_permanent(error) or attempts > len(RETRIES_AFTER_S):
            _log.error("message_parked", error=type(error).__name__)
            return "parked", None
        _log.warning("message_kept", attempts=attempts, error=type(error).__name__)
        delay = timedelta(seconds=RETRIES_AFTER_S[attempts - 1])
        return "retry", self._store.clock.now() + delay

    def _is_too_old(self, message_id: UUID) -> bool:
        """Whether its row may have been dropped already, so that a repeat can't be told."""
        oldest_ms = self._store.clock.now().timestamp() * 1_000 - KEPT_MS
        return message_id.int >> 80 < int(oldest_ms)


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
    return words.replace("\0", "")[:ERROR_LENGTH_MAX]  # PostgreSQL's text takes no NUL


__all__ = ["DATABASE_AWAY", "Deferred", "Inbox", "Subscription", "ensure_partitions"]
