"""python -m bench.ledger_size: a ledger of a million entries: a balance, a first page of history,
and `ledger verify`, beside what the server takes to read the same rows and do nothing with them.

Prints JSON and writes bench/results/ledger_size.json; what the figures mean is in bench/README.md.
"""

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import httpx
import psutil

from bench import filling
from bench.load import latency_ms
from bench.peer import ROOT
from bench.repetitions import SEED, Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import facts, fresh_database
from kernel.bus import MemoryBus
from kernel.clock import SystemClock, new_id
from kernel.event_store import EventStore
from kernel.http import Identity
from kernel.http.identity import HEADER
from kernel.http.peer import Peer
from kernel.inbox_partitions import ensure_partitions
from kernel.migrations import migrate
from kernel.objects import LocalObjectStore
from kernel.projections import ensure, rebuild
from kernel.secrets import Secrets
from kernel.service import Ground, Platform
from kernel.sql import Database
from kernel.testing import FakeClock
from services.credits import app
from services.credits.outbox import announce
from services.credits.read_model import READ_MODEL, project
from services.credits.settings import CreditsSettings

REQUESTS: Final = 500
WARMING: Final = 50
"""Requests that do not count: they fill the pool, and the server's plans."""
CREDITS: Final = "/api/v2/generation/credits"
LOOK_EVERY_S: Final = 0.01
TIMEOUT_S: Final = 600.0
ENTRIES_OF_BIG: Final = (
    "SELECT count(*) FROM credits_read.credit_transactions WHERE account_id = $1"
)
ENTRIES: Final = "SELECT count(*) FROM credits_read.credit_transactions"
SCAN: Final = "SELECT count(*), sum((data->>'amount_units')::bigint) FROM credits.events"


@dataclass(frozen=True)
class Ledger:
    """Filled, sealed and shown; `filled` says what that took."""

    dsn: str
    home: Path
    database: Database
    entries: int
    filled: Figures


async def measure() -> dict[str, Any]:
    async with _filled() as ledger, _client(ledger) as client:
        result = await repeated(
            [
                Case("balance", lambda: _asked(client, "")),
                Case("history", lambda: _asked(client, "/history")),
                Case("balance_as_of", lambda: _asked(client, "", past=True)),
                Case("history_as_of", lambda: _asked(client, "/history", past=True)),
                Case("verify", lambda: _verify(ledger)),
                Case("scan", lambda: _scan(ledger)),
                Case("copy", lambda: _copy(ledger)),
            ]
        )
        filled = ledger.filled
    return {
        "filled": filled,
        "servers": await facts(),
        **result,
        "table": _table(result["cases"], filled),
    }


def _table(cases: Medians, filled: Figures) -> list[Row]:
    def times(case: str) -> str:
        return f"p50 {cases[case]['p50_ms']['median']} ms, p95 {cases[case]['p95_ms']['median']} ms"

    verify = cases["verify"]
    size = f"of {filled['entries']:,.0f} entries"
    return [
        Row(
            f"balance of an account with {filled['entries_of_big']:,.0f} {size}",
            "-",
            times("balance"),
            "p95 10 ms",
        ),
        Row("the same at a moment before", "-", times("balance_as_of"), "-"),
        Row("the first page of its history", "-", times("history"), "p95 10 ms"),
        Row("the same at a moment before", "-", times("history_as_of"), "-"),
        Row(
            f"`ledger verify` {size}",
            f"{ratio(cases, 's', 'verify', 'scan')}x one scan,"
            f" {ratio(cases, 's', 'verify', 'copy')}x a COPY of the events",
            f"{verify['per_s']['median']:,.0f}/s (scan {cases['scan']['s']['median']} s,"
            f" COPY {cases['copy']['s']['median']} s)",
            "50,000/s",
        ),
        Row(
            "memory of its process, at its peak",
            "-",
            f"{verify['peak_rss_mb']['median']:.0f} MB",
            "200 MB",
        ),
        Row(
            f"read models rebuilt from {filled['events']:,.0f} events",
            "-",
            f"{filled['rebuilt_per_s']:,.0f}/s",
            "30,000/s",
        ),
        Row("their events sealed", "-", f"{filled['sealed_per_s']:,.0f}/s", "-"),
    ]


@asynccontextmanager
async def _filled() -> AsyncIterator[Ledger]:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as name:
        home = Path(name)
        async with fresh_database() as dsn:
            await migrate(dsn, {app.SCHEMA: ROOT / "services/credits/migrations"})
            database = await Database.connect(dsn)
            try:
                yield await _fill(dsn, home, database)
            finally:
                await database.close()


async def _fill(dsn: str, home: Path, database: Database) -> Ledger:
    async with database.connection() as connection:
        await ensure(connection, READ_MODEL)
        await ensure_partitions(connection, app.SCHEMA, SystemClock().now())
    clock = FakeClock(filling.SINCE)
    store = EventStore(
        database, app.SCHEMA, app.AGGREGATES, clock=clock, announce=announce, project=project
    )
    began_s = perf_counter()
    await filling.open_accounts(store, clock)
    await filling.fill(database)
    filled_s = perf_counter()
    objects = LocalObjectStore(_objects_root(home))
    await filling.seal(database, objects)
    objects.close()
    sealed_s = perf_counter()
    events = await rebuild(database, app.SCHEMA, READ_MODEL, app.AGGREGATES)
    rebuilt_s = perf_counter()
    async with database.connection() as connection:
        await connection.execute("VACUUM ANALYZE", timeout=TIMEOUT_S)
        entries = await connection.fetchval(ENTRIES)
        entries_of_big = await connection.fetchval(f"{ENTRIES} WHERE account_id = $1", filling.BIG)
    figures = {
        "events": events,
        "entries": entries,
        "entries_of_big": entries_of_big,
        "filled_s": round(filled_s - began_s, 1),
        "sealed_per_s": round(events / (sealed_s - filled_s)),
        "rebuilt_per_s": round(events / (rebuilt_s - sealed_s)),
    }
    return Ledger(dsn, home, database, entries, figures)


@asynccontextmanager
async def _client(ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    """The service's own app, not started, asked by the big account's owner."""
    secrets = Secrets((_SECRET,), _SECRET, _SECRET)
    ground = Ground.of(secrets, MemoryBus(), "http://smartspec.test")
    platform = Platform.on(ground, ledger.database)
    never_asked = Peer.at("generation", ["http://127.0.0.1:9"], platform.internal_tokens)
    settings = CreditsSettings(SMARTSPEC_HOME=ledger.home)
    service = app.create_service(settings, platform, never_asked)
    assert service.app is not None
    who = Identity(new_id(), filling.BIG, "user", "free", frozenset({"credits:read"}))

    async def sign(request: httpx.Request) -> None:  # a token ends before the bench does
        request.headers[HEADER] = platform.internal_tokens.mint(who)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app),
        base_url="http://credits",
        event_hooks={"request": [sign]},
    ) as client:
        yield client


async def _asked(client: httpx.AsyncClient, path: str, *, past: bool = False) -> Figures:
    """One request after the other."""
    dice = random.Random(SEED)  # noqa: S311 - a fixed load
    took_s = []
    for _ in range(WARMING + REQUESTS):
        at = filling.SINCE + timedelta(days=20) * dice.random()
        began_s = perf_counter()
        answer = await client.get(
            f"{CREDITS}{path}", params={"as_of": at.isoformat()} if past else {}
        )
        took_s.append(perf_counter() - began_s)
        assert answer.status_code == httpx.codes.OK, answer.text
    return latency_ms(took_s[WARMING:])


async def _verify(ledger: Ledger) -> Figures:
    """The command as an operator runs it, its start included."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": ledger.dsn,
        "SMARTSPEC_HOME": str(ledger.home),
    }
    began_s = perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.credits", "ledger", "verify"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    watching = asyncio.create_task(_peak_rss(process.pid))
    said, _ = await process.communicate()
    took_s = perf_counter() - began_s
    assert process.returncode == 0, said.decode()
    return {
        "s": took_s,
        "per_s": ledger.entries / took_s,
        "peak_rss_mb": await watching / 1e6,
    }


async def _peak_rss(pid: int) -> int:
    """Looked at again and again until it ends: what the system counts for a process that has ended
    begins with what its parent had."""
    peak = 0
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(LOOK_EVERY_S)
    except psutil.NoSuchProcess:
        pass
    return peak


async def _scan(ledger: Ledger) -> Figures:
    """One figure of each event's JSON, and no rule."""
    async with ledger.database.connection() as connection:
        began_s = perf_counter()
        await connection.fetchrow(SCAN, timeout=TIMEOUT_S)
        return {"s": perf_counter() - began_s}


async def _copy(ledger: Ledger) -> Figures:
    """Every event to a client that throws it away: what a proof outside of the server begins by."""

    async def throw_away(_: bytes) -> None:
        pass

    async with ledger.database.connection() as connection:
        began_s = perf_counter()
        await connection.copy_from_query(
            "SELECT * FROM credits.events", output=throw_away, timeout=TIMEOUT_S
        )
        return {"s": perf_counter() - began_s}


def _objects_root(home: Path) -> Path:
    return CreditsSettings(SMARTSPEC_HOME=home).objects_root


_SECRET: Final = "a secret of benches, and of nothing else"  # noqa: S105 - it is none


if __name__ == "__main__":
    sys.exit(run("ledger_size", measure))
