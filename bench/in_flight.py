"""python -m bench.in_flight: ten thousand tasks at a provider at once, followed by one worker of
generation on PostgreSQL; how late each is looked at, and what it takes.

The vendor is in the same process, and answers after a while as one over a network does.
"""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final
from uuid import UUID

import psutil

from bench.load import latency_ms, so_many_at_once
from bench.peer import ROOT
from bench.repetitions import Case, Figures, Medians, Row, repeated, run
from bench.servers import facts, fresh_database
from kernel.bus import MemoryBus
from kernel.clock import SystemClock, new_id
from kernel.encryption import Personal
from kernel.event_store import EventStore
from kernel.http.peer import Peer
from kernel.inbox_partitions import ensure_partitions
from kernel.migrations import migrate
from kernel.projections import ensure
from kernel.secrets import Secrets
from kernel.service import Ground, Platform
from kernel.sql import Database
from kernel.unit import Unit
from services.generation import app
from services.generation.adapters.due_list import DueJob, DueList, record_deadline, record_job
from services.generation.adapters.own_keys import OwnKeys
from services.generation.adapters.providers import (
    Accepted,
    Job,
    Look,
    Running,
    Submission,
    Succeeded,
)
from services.generation.adapters.vendors import Vendors
from services.generation.domain.messages import CreateTask, HearReserved
from services.generation.domain.task import SAGA, TASK
from services.generation.read_model import READ_MODEL
from services.generation.settings import GenerationSettings

TASKS: Final = int(os.environ.get("BENCH_IN_FLIGHT_TASKS", "10000"))
USERS: Final = 100
WATCHED_FOR_S: Final = 30.0
SUBMIT_LATENCY_S: Final = 0.2
LOOK_LATENCY_S: Final = 0.1
AT_ONCE: Final = 12
TIMEOUT_S: Final = 300.0
LOOK_EVERY_S: Final = 0.25
PROVIDER: Final = "kie"
_SECRET: Final = "a secret of benches, and of nothing else"  # noqa: S105 - it is none


async def measure() -> dict[str, Any]:
    result = await repeated([Case("worker", _worker)])
    return {
        "tasks": TASKS,
        "servers": await facts(),
        **result,
        "table": _table(result["cases"]),
    }


def _table(cases: Medians) -> list[Row]:
    def value(figure: str) -> float:
        return float(cases["worker"][figure]["median"])

    return [
        Row(
            f"{TASKS:,} tasks in flight, one worker: lateness of looks",
            "-",
            f"p50 {value('look_late_p50_ms')} ms, p99 {value('look_late_p99_ms')} ms"
            f" at {value('looks_per_s'):,.0f} looks/s; {value('lost'):.0f} lost",
            "p99 2,000 ms, none lost",
        ),
        Row(
            "the same: memory of its process, and what it takes of a processor",
            "-",
            f"{value('rss_mb')} MB, {value('cpu_percent'):.0f} %",
            "300 MB",
        ),
    ]


@dataclass
class _Vendor:
    """Takes everything; nothing ends before it is told to."""

    asked: Counter[str] = field(default_factory=Counter)
    due_at: dict[str, datetime] = field(default_factory=dict)
    late_s: list[float] = field(default_factory=list)
    done: bool = False
    platform: Platform | None = None

    def under(self, api_key: str) -> "_Vendor":
        del api_key
        return self

    async def submit(self, job: Job) -> Submission:
        self.asked[job.key] += 1
        await asyncio.sleep(SUBMIT_LATENCY_S)
        return Accepted(job.key)

    async def look(self, provider_job_id: str) -> Look:
        assert self.platform is not None
        now = self.platform.clock.now()
        self.late_s.append((now - self.due_at.pop(provider_job_id)).total_seconds())
        await asyncio.sleep(LOOK_LATENCY_S)
        if self.done:
            return Succeeded(("https://cdn.test/a.png",))
        return Running(10)

    async def cancel(self, provider_job_id: str) -> bool:
        del provider_job_id
        return False

    async def find(self, job: Job) -> Submission | None:
        return Accepted(job.key)

    async def aclose(self) -> None:
        pass


def _watch_claims(vendor: _Vendor) -> None:
    """Note when each job that is claimed was due."""
    claim = DueList.claim

    async def noting(self: DueList, now: datetime, limit: int) -> Sequence[DueJob]:
        jobs = await claim(self, now, limit)
        vendor.due_at.update({job.provider_job_id or "": job.next_look_at for job in jobs})
        return jobs

    DueList.claim = noting  # type: ignore[method-assign]


async def _worker() -> Figures:
    vendor = _Vendor()
    claim = DueList.claim
    _watch_claims(vendor)
    try:
        async with _database() as database, _home() as home:
            return await _followed(vendor, database, home)
    finally:
        DueList.claim = claim  # type: ignore[method-assign]


async def _followed(vendor: _Vendor, database: Database, home: Path) -> Figures:
    ground = Ground.of(Secrets((_SECRET,), _SECRET, _SECRET), MemoryBus(), "http://smartspec.test")
    platform = Platform.on(ground, database, sole_owner=True)
    vendor.platform = platform
    never_asked = Peer.at("keys", ["http://127.0.0.1:9"], platform.internal_tokens)
    vendors = Vendors(
        {PROVIDER: vendor},
        OwnKeys(never_asked, platform.clock),
        played=frozenset({PROVIDER}),
    )
    service = app.create_service(GenerationSettings(SMARTSPEC_HOME=home), platform, vendors)
    assert service.store is not None
    users = [new_id() for _ in range(USERS)]
    personal = Personal(app.SCHEMA, platform.encryption)
    await so_many_at_once(
        lambda nth: _task(service.store, personal, users[nth % USERS]),
        at_once=AT_ONCE,
        count=TASKS,
    )
    began_s = perf_counter()
    working = asyncio.ensure_future(service.workers[0]())
    try:
        await _until(database, "submitted", TASKS)
        filled_s = perf_counter() - began_s
        watched = await _watched(vendor)
        vendor.done = True
        began_s = perf_counter()
        await _until(database, "done", TASKS)
        ended_s = perf_counter() - began_s
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert set(vendor.asked.values()) == {1}, "each is asked for once"
    return {
        **watched,
        "submits_per_s": TASKS / filled_s,
        "ends_per_s": TASKS / ended_s,
        "lost": TASKS - len(vendor.asked),
    }


async def _watched(vendor: _Vendor) -> Figures:
    """While nothing ends: what following them takes."""
    vendor.late_s.clear()
    process, rss_bytes = psutil.Process(), 0
    began_s, began_cpu_s = perf_counter(), process_time()
    while perf_counter() < began_s + WATCHED_FOR_S:
        await asyncio.sleep(LOOK_EVERY_S)
        rss_bytes = max(rss_bytes, process.memory_info().rss)
    seconds, cpu_s = perf_counter() - began_s, process_time() - began_cpu_s
    return {
        **{f"look_late_{name}": value for name, value in latency_ms(vendor.late_s).items()},
        "looks_per_s": len(vendor.late_s) / seconds,
        "rss_mb": round(rss_bytes / 1e6, 1),
        "cpu_percent": 100 * cpu_s / seconds,
    }


async def _task(store: EventStore | None, personal: Personal, user_id: UUID) -> None:
    """As it is when its credits are reserved: its job is due."""
    assert store is not None
    task_id = new_id()

    async def work(unit: Unit) -> None:
        stream_id, deadline_at = TASK.stream_id(task_id), unit.now + timedelta(hours=1)
        command = CreateTask(
            task_id=task_id,
            user_id=user_id,
            account_id=user_id,
            key_id=None,
            monthly_credit_limit_units=None,
            task_type="image",
            model_id="nano-banana-pro",
            provider=PROVIDER,
            price_units=10_000,
            outputs=1,
            width=768,
            height=768,
            prompt_sha256="0" * 64,
            deadline_at=deadline_at,
            at=unit.now,
            vendor_model="nano-banana-pro",
        )
        await unit.decide(SAGA, stream_id, command)
        await unit.decide(SAGA, stream_id, HearReserved(unit.now))
        await personal.keep(unit, user_id, f"task-{task_id}", _WORDS)
        record_deadline(unit, task_id, deadline_at)
        record_job(
            unit,
            task_id=task_id,
            output_index=0,
            attempt=1,
            provider=PROVIDER,
            model="nano-banana-pro",
            due_at=unit.now,
            key_owner_id=None,
            user_id=user_id,
        )

    await store.transact(work)


_WORDS: Final = '{"prompt": "a quiet harbour", "options": {}, "metadata": {}}'


async def _until(database: Database, state: str, count: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            async with database.connection() as connection:
                found = await connection.fetchval(
                    "SELECT count(*) FROM generation.provider_jobs WHERE state = $1", state
                )
            if found == count:
                return
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    async with fresh_database() as dsn:
        await migrate(dsn, {app.SCHEMA: ROOT / "services/generation/migrations"})
        database = await Database.connect(dsn)
        try:
            async with database.connection() as connection:
                await ensure(connection, READ_MODEL)
                await ensure_partitions(connection, app.SCHEMA, SystemClock().now())
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def _home() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(run("in_flight", measure))
