"""python -m bench.waiting: a thousand clients who follow tasks through the gateway, each service a
process of its own over RabbitMQ and PostgreSQL; then all leave at once and come back.

Every client must get every version that the feed of its task has, once and in order, over both
connections, or there is no figure. Lateness is from the moment that an event carries (taken before
its commit) to the frame in the client's hands. The vendor is the simulator, with tasks that last.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import aiohttp
import asyncpg
import orjson
import psutil

from bench.load import latency_ms, so_many_at_once
from bench.repetitions import Case, Figures, Medians, Row, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from kernel.clock import SystemClock
from tests.system.product import V2, Product, new_user

TASKS: Final = 100
FOLLOWERS: Final = 10
"""Of each task."""
TASK_S: Final = 60
"""How long the vendor takes: all have come, left and come back by then."""
USERS: Final = 8
"""Each has 100 credits, and pays one for each picture."""
AT_ONCE: Final = 16
IDLE_S: Final = 3.0
SETTLE_S: Final = 3.0
"""PostgreSQL counts what a connection did a second or two later."""
TIMEOUT_S: Final = 240.0
GOAL_MB: Final = 300
AMQP_PORT: Final = 5_672
MB: Final = 1_000_000
GENERATION, GATEWAY = "services.generation", "services.gateway"


async def measure() -> dict[str, Any]:
    result = await repeated([Case("product", _product)])
    return {"servers": await facts(), **result, "table": _table(result["cases"])}


def _table(cases: Medians) -> list[Row]:
    def value(figure: str) -> float:
        return float(cases["product"][figure]["median"])

    return [
        Row(
            f"{TASKS * FOLLOWERS:,} open streams, two replicas of generation",
            "-",
            f"generation {value('generation_mb'):.0f} MB each,"
            f" gateway {value('gateway_mb'):.0f} MB,"
            f" {value('bus_connections'):.0f} connections to the bus each"
            f" ({value('idle_bus_connections'):.0f} without)",
            f"{GOAL_MB} MB, no more connections than without",
        ),
        Row(
            "transactions a second while they wait, and without them",
            "-",
            f"{value('waiting_transactions_per_s'):.0f}/s,"
            f" {value('idle_transactions_per_s'):.0f}/s without",
            "no more than without",
        ),
        Row(
            "from an event to its frame, when all tasks end",
            "-",
            f"p50 {value('late_p50_ms')} ms, p99 {value('late_p99_ms')} ms",
            "p99 2 s",
        ),
        Row("all come back at once, until each is heard", "-", f"{value('back_s')} s", "-"),
    ]


async def _product() -> Figures:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        async with fresh_database() as dsn, fresh_queues() as prefix:
            settings = {
                "DATABASE_URL": dsn,
                "RABBITMQ_URL": RABBITMQ,
                "SMARTSPEC_QUEUE_PREFIX": prefix,
                "SIMULATOR_CANNED": "true",
            }
            arguments = ("--separate", "--replicas", "generation=2")
            product = Product(Path(folder) / "home", settings, arguments)
            try:
                await asyncio.to_thread(product.start)
                return await _followed(product)
            finally:
                await asyncio.to_thread(product.kill)


@dataclass
class _Follower:
    """One client: what it got, over however many connections. A frame is (version, when)."""

    task: str
    key: str
    got: list[tuple[int, float]] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, client: aiohttp.ClientSession) -> None:
        """Until the stream ends."""
        headers = {"X-API-Key": self.key, "Accept": "text/event-stream"}
        if self.got:
            headers["Last-Event-ID"] = str(self.got[-1][0])
        async with client.get(f"{V2}/tasks/{self.task}/events", headers=headers) as answer:
            assert answer.status == 200, await answer.text()  # noqa: PLR2004 - HTTP's
            if self.got:
                self.opened.set()
            async for line in answer.content:
                if line.startswith(b"id: "):
                    self.got.append((int(line[4:]), SystemClock().now().timestamp()))
                    self.opened.set()


async def _followed(product: Product) -> Figures:
    with ExitStack() as users:
        keys = await asyncio.to_thread(
            lambda: [users.enter_context(new_user(product)).key for _ in range(USERS)]
        )
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept one may be closed by now
    timeout = aiohttp.ClientTimeout(total=None, sock_read=TIMEOUT_S)
    async with (
        asyncio.timeout(TIMEOUT_S),
        aiohttp.ClientSession(product.url, connector=connector, timeout=timeout) as client,
    ):
        followers = await _asked(client, keys)
        database = await asyncpg.connect(product.dsn)
        try:
            return await _measured(product, client, followers, database)
        finally:
            await database.close()


async def _asked(client: aiohttp.ClientSession, keys: Sequence[str]) -> list[_Follower]:
    """The clients of new tasks."""
    followers: list[_Follower] = []

    async def ask(nth: int) -> None:
        body = {
            "model_id": "nano-banana-pro",
            "prompt": f"[[sim:latency seconds={TASK_S}]] a quiet harbour",
            "options": {"resolution": "256x256"},
        }
        key = keys[nth % len(keys)]
        headers = {"X-API-Key": key}
        async with client.post(f"{V2}/generate", json=body, headers=headers) as answer:
            task = orjson.loads(await answer.read())["task"]["id"]
        followers.extend(_Follower(task, key) for _ in range(FOLLOWERS))

    await so_many_at_once(ask, at_once=AT_ONCE, count=TASKS)
    return followers


async def _measured(
    product: Product,
    client: aiohttp.ClientSession,
    followers: Sequence[_Follower],
    database: asyncpg.Connection,
) -> Figures:
    idle_per_s = await _transactions_per_s(database)
    idle_bus = _holding(product.process.pid)["bus_connections"]
    following = await _begun(client, followers)
    waiting_per_s = await _transactions_per_s(database)
    holding = _holding(product.process.pid)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    for follower in followers:
        follower.opened.clear()
    began_s = perf_counter()
    following = await _begun(client, followers)
    back_s = perf_counter() - began_s
    seen = [len(follower.got) for follower in followers]
    await asyncio.gather(*following)
    moments = await _moments(database)
    for follower in followers:
        await _prove(client, follower)
    late_s = [
        when - moments[follower.task, version]
        for follower, known in zip(followers, seen, strict=True)
        for version, when in follower.got[known:]
    ]
    return {
        **holding,
        "idle_bus_connections": idle_bus,
        **{f"late_{name}": value for name, value in latency_ms(late_s).items()},
        "idle_transactions_per_s": idle_per_s,
        "waiting_transactions_per_s": waiting_per_s,
        "back_s": round(back_s, 2),
        "frames": sum(len(follower.got) for follower in followers),
    }


async def _begun(
    client: aiohttp.ClientSession, followers: Sequence[_Follower]
) -> list[asyncio.Task[None]]:
    """All follow, and each has heard something."""
    following = [asyncio.create_task(follower.follow(client)) for follower in followers]
    opening = asyncio.create_task(_all_opened(followers))
    done, _ = await asyncio.wait([opening, *following], return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()  # raises what a stream did
    assert opening.done(), "a task ended before all had come"
    return following


async def _all_opened(followers: Sequence[_Follower]) -> None:
    for follower in followers:
        await follower.opened.wait()


async def _prove(client: aiohttp.ClientSession, follower: _Follower) -> None:
    """No gap and no repeat: what was streamed is what the feed says afterwards."""
    headers = {"X-API-Key": follower.key, "Accept": "application/json"}
    async with client.get(f"{V2}/tasks/{follower.task}/events", headers=headers) as answer:
        body = orjson.loads(await answer.read())
    versions = [entry["version"] for entry in body["events"]]
    assert body["ended"], follower.task
    assert [version for version, _ in follower.got] == versions, (follower.got, versions)
    assert body["events"][-1]["task"]["status"] == "completed", follower.task


async def _transactions_per_s(database: asyncpg.Connection) -> float:
    """Of everything on the database, for a while."""
    query = (
        "SELECT xact_commit + xact_rollback FROM pg_stat_database"
        " WHERE datname = current_database()"
    )
    await asyncio.sleep(SETTLE_S)
    before, began_s = await database.fetchval(query), perf_counter()
    await asyncio.sleep(IDLE_S)
    after = await database.fetchval(query)
    return round(float(after - before) / (perf_counter() - began_s), 1)


async def _moments(database: asyncpg.Connection) -> dict[tuple[str, int], float]:
    rows = await database.fetch("SELECT stream_id, version, recorded_at FROM generation.events")
    return {
        (row["stream_id"].replace("-", "").replace("task", "task_"), row["version"]): row[
            "recorded_at"
        ].timestamp()
        for row in rows
    }


def _holding(pid: int) -> dict[str, float]:
    """The most of any process of each service."""
    children = psutil.Process(pid).children(recursive=True)
    mb: dict[str, float] = {GENERATION: 0.0, GATEWAY: 0.0}
    bus = 0
    for process in children:
        name = next((word for word in process.cmdline() if word in mb), None)
        if name is None:
            continue
        mb[name] = max(mb[name], process.memory_info().rss / MB)
        if name == GENERATION:
            there = process.net_connections("tcp")
            bus = max(bus, sum(bool(one.raddr) and one.raddr.port == AMQP_PORT for one in there))
    return {
        "generation_mb": round(mb[GENERATION], 1),
        "gateway_mb": round(mb[GATEWAY], 1),
        "bus_connections": bus,
    }


if __name__ == "__main__":
    sys.exit(run("waiting", measure))
