"""Deciding and remembering: heads, events, read models, inbox row and outbox in one transaction.

`EventStore.transact` is the one generic shell. Work that meets a moved head is run again, the
second time with its heads locked; a stream that had a conflict is locked first for a while, so that
a hot stream queues instead of losing races.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import orjson

from contracts.envelope import Envelope, PublicEvent
from kernel.clock import Clock, new_id
from kernel.codec import EventCodec
from kernel.context import Origin, current_origin
from kernel.errors import Forbidden, Unavailable
from kernel.messages import Aggregate, Decider
from kernel.puts import Projected, Projection, run, writing
from kernel.schema import ALREADY_HANDLED, APPEND_CONFLICT, OWNER_ERASED
from kernel.sql import Connection, Database
from kernel.telemetry import tracing
from kernel.unit import Recorded, Unit

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")
T = TypeVar("T")

Announce = Callable[[Recorded[Any]], PublicEvent | None]
"""Own event -> public event, or nothing: a service's `outbox.py`."""
Project = Callable[[Recorded[Any]], Iterable[Projected]]
"""Own event -> rows of the read model, and statements on it: a service's `read_model.py`. Those of
one commit keep their order on each table; between tables there is none, so that what is alike is
sent together. A commit that only puts rows is one round trip."""
Work = Callable[[Unit], Awaitable[T]]

ATTEMPTS_MAX = 8
HOT_FOR_S = 10.0
HOT_STREAMS_MAX = 1_000
OUTBOX_LEASE = timedelta(seconds=15)

CONFLICTS = {
    APPEND_CONFLICT,
    asyncpg.UniqueViolationError.sqlstate,
    asyncpg.DeadlockDetectedError.sqlstate,
    asyncpg.SerializationError.sqlstate,
}


class Heard(NamedTuple):
    """Who handles which messages: the inbox rows that commit with their effects."""

    consumer: str
    message_ids: Sequence[UUID]


class Conflict(Exception):
    """Somebody else moved a head, or wrote the same record, meanwhile; `foreseen`: is likely to."""

    def __init__(self, *, foreseen: bool = False) -> None:
        super().__init__()
        self.foreseen = foreseen


class AlreadyHandled(Exception):
    """The message of this unit has had its effects before; nothing was written now."""


class EventStore:
    """One service's history, in its own schema."""

    def __init__(
        self,
        database: Database,
        schema: str,
        aggregates: Sequence[Aggregate[Any, Any]],
        *,
        clock: Clock,
        announce: Announce = lambda _: None,
        project: Project = lambda _: (),
    ) -> None:
        self.database = database
        self.schema = schema
        self.clock = clock
        self.codec = EventCodec(aggregates)
        self.owner = new_id()
        self._announce = announce
        self._project = project
        self._hot: dict[str, float] = {}
        self._committed: list[Callable[[Sequence[Recorded[Any]], Sequence[Envelope]], None]] = []
        self._append = f"{schema}.append({', '.join(f'${n}' for n in range(1, 19))})"

    def on_commit(
        self, listener: Callable[[Sequence[Recorded[Any]], Sequence[Envelope]], None]
    ) -> None:
        """Call `listener(recorded, envelopes)` after each commit; it must not wait or fail."""
        self._committed.append(listener)

    async def handle(
        self, decider: Decider[C, E, S], stream_id: str, command: C
    ) -> Sequence[Recorded[E]]:
        """One command on one stream; returns what was recorded, nothing when there was no need."""

        async def work(unit: Unit) -> Sequence[Recorded[E]]:
            return await unit.decide(decider, stream_id, command)

        return await self.transact(work)

    async def transact(self, work: Work[T], *, heard: Heard | None = None) -> T:
        """Run `work` and commit what its unit collected, with the inbox rows of `heard`.

        `work` may run up to `ATTEMPTS_MAX` times, so it must not act outside its unit. Raises
        `AlreadyHandled`, `Unavailable` when every attempt met a conflict, `Forbidden` for personal
        records of an erased user, and whatever `work` raises (then nothing is written).
        """
        to_lock: dict[str, Aggregate[Any, Any]] = {}
        with tracing.deciding(self.schema):
            async with self.database.connection() as connection:
                for _ in range(ATTEMPTS_MAX):
                    unit = self._unit(connection)
                    try:
                        result, envelopes = await self._attempt(unit, work, heard, to_lock)
                    except Conflict as conflict:
                        if not conflict.foreseen:
                            self._heat(unit.heads)
                        to_lock |= {name: head.aggregate for name, head in unit.heads.items()}
                    else:
                        for listener in self._committed:
                            listener(unit.recorded, envelopes)
                        return result
            raise Unavailable("busy", "Too many changes at once; try again.", retry_after_s=1)

    async def read(self, aggregate: Aggregate[E, S], stream_id: str) -> tuple[S, int]:
        """A stream's state and version (0 when there is none)."""
        async with self.database.connection() as connection:
            unit = self._unit(connection)
            state = await unit.state(aggregate, stream_id)
            return state, unit.heads[stream_id].version

    def _unit(self, connection: Connection) -> Unit:
        return Unit(self.schema, self.codec, connection, current_origin(), self.clock.now())

    async def _attempt(
        self,
        unit: Unit,
        work: Work[T],
        heard: Heard | None,
        to_lock: Mapping[str, Aggregate[Any, Any]],
    ) -> tuple[T, Sequence[Envelope]]:
        """One attempt; `to_lock` are the heads that the attempt before it met, locked at once and
        in order, so that two commands over the same streams never wait for each other."""
        try:
            if to_lock:
                async with unit.connection.transaction():
                    unit.locking = True
                    await unit.load(to_lock)
                    result = await work(unit)
                    with tracing.committing(self.schema):
                        return result, await self._write(unit, heard, self._projected(unit))
            result = await work(unit)
            if self._any_hot(unit.heads):
                raise Conflict(foreseen=True)
            projected = self._projected(unit)
            # A single statement needs no transaction: it is one by itself.
            alone = projected.only_rows and not unit.statements
            with tracing.committing(self.schema):
                async with nullcontext() if alone else unit.connection.transaction():
                    return result, await self._write(unit, heard, projected)
        except asyncpg.PostgresError as error:
            if error.sqlstate == ALREADY_HANDLED:
                raise AlreadyHandled from error
            if error.sqlstate in CONFLICTS:
                raise Conflict from error
            if error.sqlstate == OWNER_ERASED:
                raise Forbidden("access_denied", "This account has been erased.") from error
            raise

    async def _write(
        self, unit: Unit, heard: Heard | None, projected: Projection
    ) -> Sequence[Envelope]:
        envelopes = self._envelopes(unit.recorded)
        if unit.recorded or heard is not None:
            text = writing(projected.tables, {}, self._append)
            columns = self._columns(unit, envelopes, heard)
            await unit.connection.execute(text, *columns, *projected.rows())
        await run(unit.connection, projected.later(unit.statements))
        return envelopes

    def _projected(self, unit: Unit) -> Projection:
        projected = Projection()
        for recorded in unit.recorded:
            for item in self._project(recorded):
                projected.add(item)
        return projected

    def _columns(
        self, unit: Unit, envelopes: Sequence[Envelope], heard: Heard | None
    ) -> tuple[Any, ...]:
        """The arguments of the schema's `append` function, heads in the order of their ids."""
        moved = sorted((i, h) for i, h in unit.heads.items() if h.version > h.expected)
        recorded = unit.recorded
        return (
            [stream_id for stream_id, _ in moved],
            [head.expected for _, head in moved],
            [head.version for _, head in moved],
            [_json(self.codec.encode_state(head.aggregate, head.state)) for _, head in moved],
            [item.event_id for item in recorded],
            [item.stream_id for item in recorded],
            [item.version for item in recorded],
            [type(item.event).__name__ for item in recorded],
            [self.codec.schema_version(item.event) for item in recorded],
            [_json(self.codec.encode(item.event)) for item in recorded],
            [_json(_metadata(item.origin)) for item in recorded],
            unit.now,
            [envelope.id for envelope in envelopes],
            [envelope.model_dump_json() for envelope in envelopes],
            self.owner,
            OUTBOX_LEASE,
            heard.consumer if heard else None,
            heard.message_ids if heard else [],
        )

    def _envelopes(self, recorded: Sequence[Recorded[Any]]) -> list[Envelope]:
        return [
            Envelope.of(
                public,
                event_id=item.event_id,
                subject=item.stream_id,
                version=item.version,
                time=item.at,
                correlation_id=item.origin.correlation_id,
                causation_id=item.origin.causation_id,
                traceparent=item.origin.traceparent,
            )
            for item in recorded
            if (public := self._announce(item)) is not None
        ]

    def _heat(self, heads: Iterable[str]) -> None:
        if len(self._hot) > HOT_STREAMS_MAX:
            self._hot.clear()
        self._hot.update(dict.fromkeys(heads, monotonic() + HOT_FOR_S))

    def _any_hot(self, heads: Iterable[str]) -> bool:
        now = monotonic()
        return any(self._hot.get(stream_id, 0.0) > now for stream_id in heads)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _metadata(origin: Origin) -> dict[str, str | None]:
    return {
        "correlation_id": origin.correlation_id,
        "causation_id": origin.causation_id,
        "traceparent": origin.traceparent,
    }
