"""The final reads: everything that a stopped system remembers, loaded once; it judges nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.envelope import PublicEvent
from contracts.events import EVENTS
from kernel.codec import EventCodec
from kernel.projections import History, replay
from kernel.sql import Connection, Database
from kernel.unit import Recorded
from services.credits import app as credits_app
from services.credits import outbox as credits_outbox
from services.generation import app as generation_app
from services.generation import outbox as generation_outbox
from services.keys import app as keys_app
from services.keys import outbox as keys_outbox
from services.storage import app as storage_app
from services.storage import outbox as storage_outbox

Announce = Callable[[Recorded[Any]], PublicEvent | None]

HISTORIES: Mapping[str, tuple[History, Announce]] = {
    "credits": (credits_app.HISTORY, credits_outbox.announce),
    "generation": (generation_app.HISTORY, generation_outbox.announce),
    "keys": (keys_app.HISTORY, keys_outbox.announce),
    "storage": (storage_app.HISTORY, storage_outbox.announce),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the clients were told. A request is known by the SHA-256 of its prompt, which no other
    request has: 201 with a task, 402, or nothing that arrived."""

    accepted: Mapping[str, UUID]
    refused: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Event:
    event_id: UUID
    stream_id: str
    version: int
    type: str
    data: Mapping[str, Any]
    causation_id: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """An event that its service announces, and whose inboxes it must reach."""

    message_id: UUID
    type: str
    subject: str
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Head:
    version: int
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InboxRow:
    consumer: str
    message_id: UUID
    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one service remembers; events and messages are in the order of their writing."""

    events: Sequence[Event]
    heads: Mapping[str, Head]
    messages: Sequence[Message]
    outbox: Sequence[tuple[UUID, str]]
    inbox: Sequence[InboxRow]

    def streams(self, aggregate: str) -> dict[str, list[Event]]:
        """The aggregate's streams by id, each by version."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            if event.stream_id.startswith(f"{aggregate}-"):
                found.setdefault(event.stream_id, []).append(event)
        return {name: sorted(events, key=lambda e: e.version) for name, events in found.items()}


@dataclass(frozen=True)
class FinalReads:
    """`asked` are the orders that the simulated vendor has noted; None when there was none."""

    told: Told
    objects_root: Path
    services: Mapping[str, Memory]
    provider_jobs: Sequence[Mapping[str, Any]]
    balances: Sequence[Mapping[str, Any]]
    transactions: Sequence[Mapping[str, Any]]
    asked: Sequence[Mapping[str, Any]] | None

    @cached_property
    def tasks(self) -> dict[str, list[Event]]:
        """Every task's events by its id."""
        streams = self.services["generation"].streams("task")
        return {name.removeprefix("task-"): events for name, events in streams.items()}

    @cached_property
    def holds(self) -> dict[str, list[Event]]:
        """Every hold's events by the id of its task."""
        streams = self.services["credits"].streams("hold")
        return {name.removeprefix("hold-"): events for name, events in streams.items()}

    @cached_property
    def accounts(self) -> dict[str, list[Event]]:
        """Every account's entries by stream."""
        return self.services["credits"].streams("account")


async def read_all(
    database: Database, objects_root: Path, told: Told, journal: Path | None
) -> FinalReads:
    """`journal` is the simulator's `journal.jsonl`."""
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        services = {
            schema: await _memory(connection, history, announce)
            for schema, (history, announce) in HISTORIES.items()
        }
        return FinalReads(
            told=told,
            objects_root=objects_root,
            services=services,
            provider_jobs=await _rows(connection, "SELECT * FROM generation.provider_jobs"),
            balances=await _rows(connection, "SELECT * FROM credits_read.credits_balances"),
            transactions=await _rows(connection, "SELECT * FROM credits_read.credit_transactions"),
            asked=None if journal is None else _orders(journal),
        )


async def _memory(connection: Connection, history: History, announce: Announce) -> Memory:
    schema = history.schema
    events = await connection.fetch(
        "SELECT event_id, stream_id, version, type, data, metadata->>'causation_id' AS causation_id"
        f" FROM {schema}.events ORDER BY position"
    )
    heads = await connection.fetch(f"SELECT stream_id, version, state FROM {schema}.streams")
    outbox = await connection.fetch(
        f"SELECT event_id, envelope->>'type' AS type FROM {schema}.outbox ORDER BY id"
    )
    inbox = await connection.fetch(f"SELECT consumer, message_id, state, error FROM {schema}.inbox")
    return Memory(
        events=[Event(**row) for row in events],
        heads={row["stream_id"]: Head(row["version"], row["state"]) for row in heads},
        messages=await _messages(connection, history, announce),
        outbox=[(row["event_id"], row["type"]) for row in outbox],
        inbox=[InboxRow(**row) for row in inbox],
    )


async def _messages(
    connection: Connection, history: History, announce: Announce
) -> Sequence[Message]:
    codec = EventCodec(history.aggregates)
    found = []
    async for recorded in replay(connection, history.schema, codec):
        public = announce(recorded)
        if public is not None:
            name = public.type_name()
            message = Message(recorded.event_id, name, recorded.stream_id, EVENTS[name].consumers)
            found.append(message)
    return found


async def _rows(connection: Connection, query: str) -> list[Mapping[str, Any]]:
    return [dict(row) for row in await connection.fetch(query)]


def _orders(journal: Path) -> list[Mapping[str, Any]]:
    """A torn last line is the price of a kill: the simulator reads it so, too."""
    if not journal.exists():
        return []
    orders = []
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            fact = json.loads(line)
        except ValueError:
            continue
        if fact["fact"] == "asked" and fact["entry"]["operation"] == "createTask":
            orders.append(fact["entry"])
    return orders
