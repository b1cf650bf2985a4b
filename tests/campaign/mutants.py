"""Six planted bugs, each of which the campaign must catch: by name, and by what it breaks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from contracts.envelope import Envelope
from kernel.bus import rabbitmq
from kernel.bus.amqp import PERSISTENT, body_of, envelope_of, properties_of
from kernel.bus.topology import Route, Topology
from kernel.event_store import EventStore
from services.credits.domain import (
    Account,
    Budget,
    Commit,
    Hold,
    HoldStatus,
    LedgerEvent,
    ledger,
)
from services.generation.adapters.due_list import COLUMNS, LEASE, DueJob, DueList
from tests.campaign.faults import Kind


@dataclass(frozen=True)
class Mutant:
    """`plant` changes the classes of this process; `faults` bring it out; `breaks` is one of the
    invariants that the checker must name."""

    plant: Callable[[], None]
    faults: Sequence[Kind]
    breaks: int


def inbox_off() -> None:
    """Messages are handled, and no row says so."""
    transact = EventStore.transact

    async def forgetful(self: EventStore, work: Any, *, heard: Any = None) -> Any:
        return await transact(self, work)

    _put(EventStore, "transact", forgetful)


def ack_before_commit() -> None:
    """A message is acknowledged when it comes, and handled once."""

    async def hasty(_bus: Any, _link: Any, receive: Any, hearing: Any, message: Any) -> None:
        await rabbitmq._acknowledge(hearing, message)
        await receive(envelope_of(message))

    _put(rabbitmq.RabbitMQBus, "_take", hasty)


def confirms_off() -> None:
    """What was written to the socket counts as kept by the broker."""

    async def trusting(self: Any, envelope: Envelope) -> None:
        link = await self._present_link()
        route = self._topology.route(envelope.type)
        await link.broadcasting.basic_publish(
            body_of(envelope),
            exchange=route.exchange,
            routing_key=route.routing_key,
            properties=properties_of(envelope, delivery_mode=PERSISTENT),
            wait=False,
        )

    _put(rabbitmq.RabbitMQBus, "publish", trusting)


def unroutable_ignored() -> None:
    """Nobody asks whether somebody was there."""
    route_of = Topology.route

    def unasked(self: Topology, event_type: str) -> Route:
        return replace(route_of(self, event_type), mandatory=False)

    _put(Topology, "route", unasked)


def hold_resolved_twice() -> None:
    """A ledger that forgets that a hold has ended, and that it heard of it."""
    commit = ledger._commit

    def again(
        command: Commit, account: Account, hold: Hold, budget: Budget
    ) -> Sequence[LedgerEvent]:
        if hold.status is HoldStatus.COMMITTED:
            hold = replace(hold, status=HoldStatus.HELD)
        return commit(command, account, hold, budget)

    _put(ledger, "_commit", again)
    inbox_off()


def lease_ignored() -> None:
    """Whoever looks takes every job, also one that another is asking its provider for."""

    async def greedy(self: Any, now: datetime, limit: int) -> Sequence[DueJob]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE generation.provider_jobs SET
                    lease_until = $1::timestamptz + $2,
                    state = CASE state WHEN 'waiting' THEN 'submitting' ELSE state END
                WHERE job_id = ANY(ARRAY(
                    SELECT job_id FROM generation.provider_jobs
                    WHERE state IN ('waiting', 'submitting', 'submitted', 'unknown')
                    AND next_look_at <= $1 ORDER BY next_look_at LIMIT $3))
                RETURNING {COLUMNS}""",
                now,
                LEASE,
                limit,
            )
        return [DueJob(**row) for row in rows]

    _put(DueList, "claim", greedy)


def _put(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    setattr(owner, name, replacement)


MUTANTS: Final[Mapping[str, Mutant]] = {
    "inbox_off": Mutant(inbox_off, (Kind.DUPLICATE,), 5),
    "ack_before_commit": Mutant(
        ack_before_commit, (Kind.POSTGRES_KILL, Kind.POSTGRES_CUT, Kind.POSTGRES_SESSIONS), 5
    ),
    "confirms_off": Mutant(confirms_off, (Kind.BROKER_STALL,), 5),
    "unroutable_ignored": Mutant(unroutable_ignored, (Kind.QUEUE_GONE,), 5),
    "hold_resolved_twice": Mutant(hold_resolved_twice, (Kind.DUPLICATE,), 2),
    "lease_ignored": Mutant(lease_ignored, (Kind.DUPLICATE,), 6),
}


def plant(name: str) -> None:
    MUTANTS[name].plant()
