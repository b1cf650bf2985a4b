"""What the kernel's benches run: the tests' small aggregate, announced to a service that hears."""

from collections.abc import Sequence
from uuid import UUID

from contracts.credits import CreditsReserved
from contracts.envelope import Envelope
from kernel.clock import SystemClock, new_id
from kernel.event_store import EventStore
from kernel.sql import Database
from kernel.unit import Recorded, Unit
from tests.kernel.totals import ADDING, TOTAL, Add, Added

SCHEMA = "bench"
HEARS = "generation"
"""Whom the contract names as the consumer of what is announced."""
ONE = Add(1, total_max=1_000_000_000)
_ACCOUNT = UUID(int=7)


def announce(recorded: Recorded[Added]) -> CreditsReserved:
    return CreditsReserved(
        task_id=recorded.event_id, account_id=_ACCOUNT, amount_units=recorded.event.amount
    )


def silent(_: Recorded[Added]) -> None:
    """Announce nothing."""


def new_store(database: Database) -> EventStore:
    return EventStore(database, SCHEMA, [TOTAL], clock=SystemClock(), announce=announce)


def message(account: int) -> Envelope:
    """As `new_store` would announce it for that account."""
    event_id = new_id()
    return Envelope.of(
        CreditsReserved(task_id=event_id, account_id=UUID(int=account), amount_units=1),
        event_id=event_id,
        subject=f"total-{account}",
        version=1,
        time=SystemClock().now(),
        correlation_id=f"req_{event_id.hex}",
    )


async def add_to(unit: Unit, stream_id: str) -> None:
    await unit.decide(ADDING, stream_id, ONE)


async def add_to_each(store: EventStore, stream_ids: Sequence[str]) -> None:
    """One event on each of the streams, in one commit."""

    async def work(unit: Unit) -> None:
        await unit.load(dict.fromkeys(stream_ids, TOTAL))
        for stream_id in stream_ids:
            await add_to(unit, stream_id)

    await store.transact(work)
