"""What the kernel's tests share: a small aggregate, a stubborn bus, and conditions to wait for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from contracts.credits import CreditsReleased
from contracts.envelope import Envelope, PublicEvent
from contracts.keys import UserRegistered
from kernel.bus import MemoryBus
from kernel.clock import SystemClock, new_id
from kernel.errors import Rejected
from kernel.messages import Aggregate, Decider
from kernel.sql import Database
from kernel.testing import envelope_of
from kernel.unit import Recorded

SCHEMA = "credits"
OWNER = UUID(int=7)


@dataclass(frozen=True)
class Added:
    amount: int
    total_after: int


@dataclass(frozen=True)
class Add:
    amount: int
    total_max: int = 1_000


@dataclass(frozen=True)
class Total:
    amount: int = 0


def _decide(command: Add, state: Total) -> list[Added]:
    if state.amount + command.amount > command.total_max:
        raise Rejected("too_much", "Enough.")
    return [Added(command.amount, state.amount + command.amount)] if command.amount else []


TOTAL: Aggregate[Added, Total] = Aggregate(
    "total", Total, Total, lambda _, event: Total(event.total_after), (Added,)
)
ADDING: Decider[Add, Added, Total] = Decider(TOTAL, _decide)


def announce(recorded: Recorded[Added]) -> PublicEvent:
    """An event that no service must hear, with the amount in it."""
    return CreditsReleased(task_id=OWNER, account_id=OWNER, amount_units=recorded.event.amount)


def registration(account_id: UUID = OWNER) -> Envelope:
    """A message that credits must hear."""
    event = UserRegistered(
        user_id=OWNER,
        account_id=account_id,
        plan="free",
        role="user",
        registered_at=SystemClock().now(),
    )
    return envelope_of(event, subject=f"user-{account_id}")


def release() -> Envelope:
    """A message that nobody must hear."""
    return envelope_of(CreditsReleased(task_id=OWNER, account_id=new_id(), amount_units=1))


def amounts(envelopes: Iterable[Envelope]) -> list[int]:
    return [envelope.data["amount_units"] for envelope in envelopes]


class StubbornBus(MemoryBus):
    """Confirms while its `gate` is open; before that, each of `faults` is raised once.

    It says that it has been away for `gone_s`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Envelope] = []
        self.published: list[Envelope] = []
        self.faults: list[BaseException] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone_s = 0.0

    def away_s(self) -> float:
        return self.gone_s

    async def publish(self, envelope: Envelope) -> None:
        self.attempts.append(envelope)
        await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.published.append(envelope)


async def eventually(condition: Callable[[], bool | Awaitable[bool]], limit_s: float = 20) -> None:
    """Wait until the condition holds; fail after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Future[None]]:
    """A loop that runs meanwhile, and has ended afterwards."""
    task = asyncio.ensure_future(work())
    try:
        yield task
    finally:
        task.cancel()
        async with asyncio.timeout(10):
            with suppress(asyncio.CancelledError):
                await task


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.{table}"))


async def run_sql(database: Database, text: str) -> None:
    async with database.connection() as connection:
        await connection.execute(text)
