"""Saying: rows that committed with their events are published at least once, in order per stream.

Each process publishes the rows that it wrote, straight from memory after the commit, and renews
their lease; rows whose lease has run out (their writer died) are claimed by whoever sees them.
Nothing waits for a publish, and no lock is held while one is under way.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from contracts.envelope import Envelope
from kernel.bus import Bus
from kernel.event_store import OUTBOX_LEASE, EventStore
from kernel.telemetry import tracing
from kernel.telemetry.metrics import PUBLISH_DURATION, PUBLISHED, child, type_label
from kernel.unit import Recorded

IN_FLIGHT_MAX = 100
PENDING_MAX = 10_000
CLAIM_BATCH = 500
PUBLISH_TIMEOUT_S = 5.0
GATHER_DELETES_S = 0.02
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
RENEW_EVERY_S = OUTBOX_LEASE.total_seconds() / 3
BEHIND_AFTER_S = 30.0
AWAY_AFTER_S = 1.0
"""A bus that comes back sooner is waited for."""

_log = structlog.get_logger(__name__)


class Publisher:
    """Empties one service's outbox onto the bus."""

    def __init__(
        self,
        store: EventStore,
        bus: Bus,
        *,
        sole_owner: bool = False,
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        behind_after_s: float = BEHIND_AFTER_S,
    ) -> None:
        """With `sole_owner` no other process can hold these rows, so the first sweep does not
        wait for old leases to run out."""
        self._publish_timeout_s = publish_timeout_s
        self._behind_after_s = behind_after_s
        self._store = store
        self._bus = bus
        self._sole_owner = sole_owner
        self._since: dict[UUID, float] = {}
        self._by_stream: dict[str, deque[Envelope]] = {}
        self._attempts: dict[str, int] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._confirmed: list[UUID] = []
        self._confirmation = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        store.on_commit(self._take_committed)

    def oldest_age_s(self) -> float:
        """How long the oldest unpublished row of this process has waited; 0 when none has."""
        first = next(iter(self._since.values()), None)
        return 0.0 if first is None else asyncio.get_running_loop().time() - first

    @property
    def behind(self) -> bool:
        """Whether new work should be refused for now: nobody would hear of it in time."""
        return (
            len(self._since) >= PENDING_MAX
            or self.oldest_age_s() > self._behind_after_s
            or self._bus.away_s() > AWAY_AFTER_S
        )

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT_MAX):
                tasks.create_task(self._publish_ready())
            tasks.create_task(self._delete_confirmed())
            tasks.create_task(self._keep_leases())

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all is published and deleted, at most `timeout_s`; whether it was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._idle.is_set()

    def _take_committed(self, _: Sequence[Recorded[Any]], envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            if len(self._since) < PENDING_MAX:  # beyond it the lease runs out, and it is claimed
                self._enqueue(envelope)

    def _enqueue(self, envelope: Envelope) -> None:
        if envelope.id in self._since:
            return
        self._idle.clear()
        self._since[envelope.id] = asyncio.get_running_loop().time()
        waiting = self._by_stream.get(envelope.subject)
        if waiting is None:
            self._by_stream[envelope.subject] = deque([envelope])
            self._ready.put_nowait(envelope.subject)
        else:
            waiting.append(envelope)

    async def _publish_ready(self) -> None:
        while True:
            stream_id = await self._ready.get()
            envelope = self._by_stream[stream_id][0]
            began_s = monotonic()
            try:
                with tracing.publishing(self._store.schema, envelope) as message:
                    async with asyncio.timeout(self._publish_timeout_s):
                        await self._bus.publish(message)
            except asyncio.CancelledError as error:  # a closing channel cancels its confirms
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._back_off(stream_id, envelope, error)
            except Exception as error:  # noqa: BLE001 - any transport's fault: the row stays, and is tried again
                self._back_off(stream_id, envelope, error)
            else:
                self._confirm(stream_id, envelope)
                self._count(envelope, "confirmed")
            child(PUBLISH_DURATION, self._store.schema).observe(monotonic() - began_s)

    def _count(self, envelope: Envelope, outcome: str) -> None:
        child(PUBLISHED, self._store.schema, type_label(envelope.type), outcome).inc()

    def _confirm(self, stream_id: str, envelope: Envelope) -> None:
        self._attempts.pop(stream_id, None)
        self._confirmed.append(envelope.id)
        self._confirmation.set()
        waiting = self._by_stream[stream_id]
        waiting.popleft()
        if waiting:
            self._ready.put_nowait(stream_id)
        else:
            del self._by_stream[stream_id]

    def _back_off(self, stream_id: str, envelope: Envelope, error: BaseException) -> None:
        """Later and later; but a bus that is away is waited for by the publish itself, so that all
        goes out as soon as it is back."""
        attempts = self._attempts.get(stream_id, 0)
        if not self._bus.away_s():
            attempts = self._attempts[stream_id] = attempts + 1
        delay_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(max(0, attempts - 1), 10))
        self._count(envelope, "failed")
        _log.warning(
            "publish_failed",
            message_id=str(envelope.id),
            message_type=envelope.type,
            attempts=attempts,
            error=type(error).__name__,
        )
        asyncio.get_running_loop().call_later(delay_s, self._ready.put_nowait, stream_id)

    async def _delete_confirmed(self) -> None:
        """Rows go in batches, because nobody waits for them, and each statement is a commit."""
        while True:
            await self._confirmation.wait()
            await asyncio.sleep(GATHER_DELETES_S)
            self._confirmation.clear()
            batch, self._confirmed = self._confirmed, []
            try:
                async with self._store.database.connection() as connection:
                    await connection.execute(
                        f"DELETE FROM {self._store.schema}.outbox WHERE event_id = ANY($1::uuid[])",
                        batch,
                    )
            except Exception as error:  # noqa: BLE001 - published but not deleted: at worst it is published again
                _log.warning("outbox_delete_failed", error=type(error).__name__)
                self._confirmed = batch + self._confirmed
                await asyncio.sleep(BACKOFF_FIRST_S)
                self._confirmation.set()
                continue
            for event_id in batch:
                self._since.pop(event_id, None)
            if not self._since:
                self._idle.set()

    async def _keep_leases(self) -> None:
        everything = self._sole_owner
        while True:
            try:
                await self._renew()
                claimed = await self._claim(everything=everything)
                everything = everything and claimed == CLAIM_BATCH
            except Exception as error:  # noqa: BLE001 - the database is away: the rows are safe, try again
                _log.warning("outbox_sweep_failed", error=type(error).__name__)
                claimed = 0
            if claimed < CLAIM_BATCH:
                await asyncio.sleep(RENEW_EVERY_S)

    async def _renew(self) -> None:
        if not self._since:
            return
        async with self._store.database.connection() as connection:
            await connection.execute(
                f"UPDATE {self._store.schema}.outbox SET lease_until = clock_timestamp() + $2"
                " WHERE event_id = ANY($1::uuid[])",
                list(self._since),
                OUTBOX_LEASE,
            )

    async def _claim(self, *, everything: bool) -> int:
        """Take over rows whose lease has run out, as many as there is room for; how many."""
        room = min(CLAIM_BATCH, PENDING_MAX - len(self._since))
        if room <= 0:
            return 0
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE {self._store.schema}.outbox
                SET owner = $1, lease_until = clock_timestamp() + $2
                WHERE id = ANY(ARRAY(
                    SELECT id FROM {self._store.schema}.outbox
                    WHERE (lease_until < clock_timestamp() OR ($3 AND owner <> $1))
                    ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED))
                RETURNING id, envelope""",
                self._store.owner,
                OUTBOX_LEASE,
                everything,
                room,
            )
        for row in sorted(rows, key=lambda row: int(row["id"])):
            try:
                self._enqueue(Envelope.model_validate(row["envelope"]))
            except ValidationError:  # it must not stand in the way of those behind it
                _log.error("outbox_row_unreadable", row=row["id"])
        return len(rows)
