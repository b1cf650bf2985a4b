"""python -m bench.ledger: credits as it runs, from `TaskCreated` off RabbitMQ to `CreditsReserved`
confirmed; the same decided and committed in process, with no broker; and a hold written by two bare
SQL statements.
"""

import asyncio
import random
import resource
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final
from uuid import UUID

import asyncpg

from bench.feeding import (
    ACCOUNTS,
    PRICE_UNITS,
    account,
    drawn_accounts,
    seconds_since,
    task_created,
)
from bench.load import as_fast_as_possible, latency_ms, rate, so_many_at_once
from bench.peer import ROOT
from bench.repetitions import SEED, Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from contracts.envelope import Envelope
from kernel.bus import Bus, MemoryBus, RabbitMQBus
from kernel.bus.rabbitmq import PREFETCH
from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.http.peer import Peer
from kernel.migrations import migrate
from kernel.outbox import IN_FLIGHT_MAX
from kernel.projections import ensure
from kernel.secrets import Secrets
from kernel.service import Ground, Platform, Service
from kernel.sql import Database
from kernel.unit import Unit
from services.credits import app
from services.credits.domain import (
    ACCOUNT,
    SUBSCRIPTION,
    OpenAccount,
    Plan,
    PlanTerms,
    open_account,
)
from services.credits.read_model import READ_MODEL
from services.credits.settings import CreditsSettings

HOLDS: Final = 10_000
RATE_PER_S: Final = 1_500
RATE_FOR_S: Final = 4
TIMEOUT_S: Final = 60.0
CONNECTIONS: Final = 32
FOR_S: Final = 3.0
GRANT_UNITS: Final = 10**15
PLAN: Final = Plan(PlanTerms("Bench", GRANT_UNITS, roll_over=True))
RESERVED: Final = "CreditsReserved"


async def measure() -> dict[str, Any]:
    result = await repeated(
        [
            Case("spread_accounts", lambda: _backlog(drawn_accounts(HOLDS))),
            Case("hot_account", lambda: _backlog([account(0)] * HOLDS)),
            Case("spread_accounts_at_rate", _at_rate),
            Case("in_process_spread_accounts", lambda: _in_process(drawn_accounts(HOLDS))),
            Case("in_process_hot_account", lambda: _in_process([account(0)] * HOLDS)),
            Case("bare_sql_spread_accounts", lambda: _bare(ACCOUNTS)),
            Case("bare_sql_hot_account", lambda: _bare(1)),
        ]
    )
    peak_rss_mb = _peak_rss_mb()
    return {
        "rate_per_s": RATE_PER_S,
        "servers": await facts(),
        **result,
        "peak_rss_mb": peak_rss_mb,
        "table": _table(result["cases"], peak_rss_mb),
    }


def _peak_rss_mb() -> float:
    """Of this process since it began; Linux counts it in KiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6, 1)


def _table(cases: Medians, peak_rss_mb: float) -> list[Row]:
    def rate_of(case: str) -> str:
        return f"{cases[case]['per_s']['median']:,.0f}/s"

    def with_cost(case: str) -> str:
        return f"{rate_of(case)}, {cases[case]['client_cpu_us']['median']:,.0f} us each"

    late = cases["spread_accounts_at_rate"]
    return [
        Row(
            "ledger: reservations, spread accounts",
            f"{ratio(cases, 'per_s', 'spread_accounts', 'bare_sql_spread_accounts')}"
            " of two bare statements",
            f"{with_cost('spread_accounts')} (bare {rate_of('bare_sql_spread_accounts')})",
            "1,500/s",
        ),
        Row(
            f"the same at {RATE_PER_S:,}/s, message made to answer confirmed",
            "-",
            f"p50 {late['p50_ms']['median']} ms, p99 {late['p99_ms']['median']} ms",
            "p99 50 ms",
        ),
        Row(
            "ledger: one hot account",
            f"{ratio(cases, 'per_s', 'hot_account', 'bare_sql_hot_account')}x"
            " a row lock for each hold",
            f"{with_cost('hot_account')} (bare {rate_of('bare_sql_hot_account')})",
            "4,000/s",
        ),
        Row(
            "ledger in process, without a broker: spread accounts",
            f"{ratio(cases, 'per_s', 'in_process_spread_accounts', 'bare_sql_spread_accounts')}"
            " of two bare statements",
            with_cost("in_process_spread_accounts"),
            "-",
        ),
        Row(
            "the same, one hot account",
            f"{ratio(cases, 'per_s', 'in_process_hot_account', 'bare_sql_hot_account')}x"
            " a row lock for each hold",
            with_cost("in_process_hot_account"),
            "-",
        ),
        Row("memory of the process that does all this, at its peak", "-", f"{peak_rss_mb} MB", "-"),
    ]


class _WatchedBus(RabbitMQBus):
    """Notes when each answer is confirmed."""

    def __init__(self, prefix: str, expected: int) -> None:
        super().__init__(RABBITMQ, prefix=prefix)
        self.late_s: list[float] = []
        self._expected = expected
        self._all = asyncio.Event()

    async def publish(self, envelope: Envelope) -> None:
        await super().publish(envelope)
        if envelope.type == RESERVED and envelope.causationid is not None:
            self.late_s.append(seconds_since(UUID(envelope.causationid)))
            if len(self.late_s) == self._expected:
                self._all.set()

    async def all_confirmed(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self._all.wait()


async def _backlog(accounts: Sequence[UUID]) -> Figures:
    """As fast as it can: all requests wait in the queue when it starts to listen."""
    async with _database() as database, fresh_queues() as prefix:
        filling = RabbitMQBus(RABBITMQ, prefix=prefix)
        await filling.start()
        await so_many_at_once(
            lambda nth: filling.publish(task_created(accounts[nth])),
            at_once=IN_FLIGHT_MAX,
            count=len(accounts),
        )
        await filling.stop()
        bus = _WatchedBus(prefix, len(accounts))
        async with _credits(database, bus):
            began_s, began_cpu_s = perf_counter(), process_time()
            await bus.start()
            await bus.all_confirmed()
            return rate(len(accounts), perf_counter() - began_s, process_time() - began_cpu_s)


async def _at_rate() -> Figures:
    """Fed by another process. The first second fills caches and pools, and does not count."""
    count = RATE_PER_S * (1 + RATE_FOR_S)
    async with _database() as database, fresh_queues() as prefix:
        bus = _WatchedBus(prefix, count)
        async with _credits(database, bus):
            await bus.start()
            feeding = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.feeding", prefix, str(RATE_PER_S), str(count), cwd=ROOT
            )
            try:
                await bus.all_confirmed()
            finally:
                if feeding.returncode is None:
                    feeding.kill()
                await feeding.wait()
        return latency_ms(bus.late_s[RATE_PER_S:])


async def _in_process(accounts: Sequence[UUID]) -> Figures:
    """Inbox, lanes, decision, commit: what is left of `_backlog` without a broker on either side;
    what is announced stays in the outbox. As many are at hand at once as the broker delivers."""
    messages = [task_created(one) for one in accounts]
    async with _database() as database, _home() as home:
        async with database.connection() as connection:
            await ensure(connection, READ_MODEL)
        service = _composed(database, MemoryBus(), home)
        inbox, store = service.inbox, service.store
        assert inbox is not None
        assert store is not None
        await inbox.maintain()
        await _open_accounts(store)
        began_s, began_cpu_s = perf_counter(), process_time()
        await so_many_at_once(
            lambda nth: inbox.receive(messages[nth]), at_once=PREFETCH, count=len(messages)
        )
        return rate(len(messages), perf_counter() - began_s, process_time() - began_cpu_s)


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    """Credits' own, with all accounts open."""
    async with fresh_database() as dsn:
        await migrate(dsn, {app.SCHEMA: ROOT / "services/credits/migrations"})
        database = await Database.connect(dsn)
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def _credits(database: Database, bus: RabbitMQBus) -> AsyncIterator[None]:
    """The service as its process composes it, without its HTTP."""
    async with _home() as home, _running(_composed(database, bus, home), bus):
        yield


@asynccontextmanager
async def _home() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as name:
        yield Path(name)


@asynccontextmanager
async def _running(service: Service, bus: RabbitMQBus) -> AsyncIterator[None]:
    assert service.store is not None
    await service.start(bus, _failed)
    try:
        await _open_accounts(service.store)
        await service.flush()
        yield
    finally:
        await bus.quiesce()
        await service.flush()
        await bus.stop()
        await service.stop()


def _composed(database: Database, bus: Bus, home: Path) -> Service:
    secrets = Secrets((_SECRET,), _SECRET, _SECRET)
    platform = Platform.on(Ground.of(secrets, bus, "http://smartspec.test"), database)
    never_asked = Peer.at("generation", ["http://127.0.0.1:9"], platform.internal_tokens)
    settings = CreditsSettings(SMARTSPEC_HOME=home)
    return app.create_service(settings, platform, never_asked)


async def _open_accounts(store: EventStore) -> None:
    """Many in a commit; how they were opened is not measured."""

    async def work(unit: Unit) -> None:
        for nth in range(ACCOUNTS):
            account_id = account(nth)
            opening = OpenAccount(account_id, account_id, "bench", unit.now)
            await unit.decide_on(
                (
                    (SUBSCRIPTION, SUBSCRIPTION.stream_id(account_id)),
                    (ACCOUNT, ACCOUNT.stream_id(account_id)),
                ),
                lambda _, account, opening=opening: open_account(opening, account, PLAN),
            )

    await store.transact(work)


def _failed(name: str) -> None:
    raise RuntimeError(f"{name} has failed")


async def _bare(accounts: int) -> Figures:
    """What anybody would write: a row lock for each hold, as long as its commit takes."""
    async with fresh_database() as dsn:
        connections = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
        try:
            await connections[0].execute(_BARE_TABLES)
            await connections[0].execute(_BARE_ACCOUNTS, accounts)
            dice = random.Random(SEED)  # noqa: S311 - a fixed load

            async def hold(nth: int) -> None:
                account_id = dice.randrange(accounts)
                async with connections[nth].transaction():
                    held = await connections[nth].execute(_BARE_HOLD, account_id, PRICE_UNITS)
                    assert held == "UPDATE 1"
                    await connections[nth].execute(_BARE_ENTRY, new_id(), account_id, PRICE_UNITS)

            return await as_fast_as_possible(hold, at_once=CONNECTIONS, for_s=FOR_S)
        finally:
            for connection in connections:
                await connection.close()


_SECRET: Final = "a secret of benches, and of nothing else"  # noqa: S105 - it is none
_BARE_TABLES: Final = """
    CREATE TABLE accounts (
        account_id integer PRIMARY KEY, granted bigint NOT NULL, held bigint NOT NULL
    ) WITH (fillfactor = 70);
    CREATE TABLE holds (
        hold_id uuid PRIMARY KEY, account_id integer NOT NULL, amount bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )"""
_BARE_ACCOUNTS: Final = (
    "INSERT INTO accounts SELECT nth, 1000000000000000, 0 FROM generate_series(0, $1 - 1) AS nth"
)
_BARE_HOLD: Final = (
    "UPDATE accounts SET held = held + $2 WHERE account_id = $1 AND granted - held >= $2"
)
_BARE_ENTRY: Final = "INSERT INTO holds (hold_id, account_id, amount) VALUES ($1, $2, $3)"


if __name__ == "__main__":
    sys.exit(run("ledger", measure))
