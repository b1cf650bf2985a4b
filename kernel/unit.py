"""A unit of work: the heads that it read, and everything that it will write in one commit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy.sql import ClauseElement

from kernel.clock import new_id
from kernel.codec import EventCodec
from kernel.context import Origin
from kernel.messages import Aggregate, Decider
from kernel.sql import Connection, render

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")
E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E_co]):
    """An event and its place in history. `event_id` is its message's id on the bus too."""

    event_id: UUID
    stream_id: str
    version: int
    event: E_co
    at: datetime
    origin: Origin


@dataclass(slots=True)
class Head:
    """A stream as this unit sees it; `expected` is the version that must still be true at commit
    (0: the stream must not exist yet)."""

    aggregate: Aggregate[Any, Any]
    expected: int
    version: int
    state: Any


class Unit:
    """Collects one transaction. Nothing is written before `EventStore.transact` commits it.

    `connection` is for reads that the decision needs; with `locking`, it is inside the transaction
    and heads are locked as they are read.
    """

    def __init__(
        self, schema: str, codec: EventCodec, connection: Connection, origin: Origin, now: datetime
    ) -> None:
        self.connection = connection
        self.origin = origin
        self.now = now
        self.locking = False
        self.heads: dict[str, Head] = {}
        self.recorded: list[Recorded[Any]] = []
        self.statements: list[tuple[str, Sequence[Any]]] = []
        self._codec = codec
        self._read_heads = (
            f"SELECT stream_id, version, state FROM {schema}.streams"
            " WHERE stream_id = ANY($1::text[]) ORDER BY stream_id"
        )

    async def decide(
        self, decider: Decider[C, E, S], stream_id: str, command: C
    ) -> Sequence[Recorded[E]]:
        """Read the head, decide, and take the events into this unit."""
        return await self.decide_on(
            ((decider.aggregate, stream_id),), lambda state: decider.decide(command, state)
        )

    async def decide_on(
        self,
        parts: Sequence[tuple[Aggregate[Any, Any], str]],
        rule: Callable[..., Sequence[Any]],
    ) -> Sequence[Recorded[Any]]:
        """One decision over the heads of several streams.

        `rule` gets their states in the order of `parts`; each event that it returns goes to the
        stream of its own aggregate, so an aggregate may appear once only.
        """
        await self.load({stream_id: aggregate for aggregate, stream_id in parts})
        streams = {aggregate.name: stream_id for aggregate, stream_id in parts}
        events = rule(*(self.heads[stream_id].state for _, stream_id in parts))
        return [
            self._take(event, streams[self._codec.aggregate_of(event).name]) for event in events
        ]

    def record(self, statement: ClauseElement, **parameters: Any) -> None:
        """Run `statement` with the commit, after the events."""
        self.statements.append(render(statement, parameters))

    def record_sql(self, text: str, *values: Any) -> None:
        """The same for SQL text with `$n`."""
        self.statements.append((text, values))

    async def state(self, aggregate: Aggregate[E, S], stream_id: str) -> S:
        """The stream's state as this unit sees it."""
        await self.load({stream_id: aggregate})
        state: S = self.heads[stream_id].state
        return state

    async def load(self, streams: Mapping[str, Aggregate[Any, Any]]) -> None:
        """Read the heads that this unit has not seen yet, locking them in order if it locks."""
        missing = {name: streams[name] for name in streams if name not in self.heads}
        if not missing:
            return
        query = self._read_heads + (" FOR UPDATE" if self.locking else "")
        rows = {
            row["stream_id"]: row for row in await self.connection.fetch(query, sorted(missing))
        }
        for stream_id, aggregate in missing.items():
            row = rows.get(stream_id)
            if row is None:
                self.heads[stream_id] = Head(aggregate, 0, 0, aggregate.initial_state())
            else:
                state = self._codec.decode_state(aggregate, row["state"])
                self.heads[stream_id] = Head(aggregate, row["version"], row["version"], state)

    def _take(self, event: Any, stream_id: str) -> Recorded[Any]:
        head = self.heads[stream_id]
        head.version += 1
        head.state = head.aggregate.evolve(head.state, event)
        recorded = Recorded(new_id(), stream_id, head.version, event, self.now, self.origin)
        self.recorded.append(recorded)
        return recorded
