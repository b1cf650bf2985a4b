"""python -m bench.saga: creating tasks, and the whole saga, with each service as a process of its
own over RabbitMQ and PostgreSQL; beside Celery and PostgreSQL doing the same durable steps.

The vendor is the simulator without latency and with one canned tiny picture.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import aio_pika
import aiohttp
import asyncpg
import httpx

from bench.load import as_fast_as_possible, at_a_rate, latency_ms, so_many_at_once
from bench.peer import ROOT, figures_of
from bench.repetitions import Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from bench.spending import Spending
from kernel.runtime import quiet_port
from tests.system.product import V2, Product, new_user

USERS: Final = 24
"""Each has 100 credits, and pays one for each picture."""
RATE_PER_S: Final = 50
RATE_FOR_S: Final = 4
AT_ONCE: Final = 32
SUSTAINED_FOR_S: Final = 3.0
SAGAS: Final = 300
WARM_UP: Final = 50
END_TIMEOUT_S: Final = 120.0
LOOK_EVERY_S: Final = 0.05
CREATED: Final = 201
UNMARKED: Final = {"SMARTSPEC_PROVENANCE": "false", "SMARTSPEC_NSFW_CHECK": "false"}
"""What is done to real media costs more than the rest together: beside it, see `storage`."""
VENDOR: Final = {"SIMULATOR_CANNED": "true", "SIMULATOR_LATENCY_S": "0"}


async def measure() -> dict[str, Any]:
    result = await repeated([Case("product", _product), Case("celery", _celery)])
    return {"servers": await facts(), **result, "table": _table(result["cases"])}


def _table(cases: Medians) -> list[Row]:
    def value(figure: str) -> float:
        return float(cases["product"][figure]["median"])

    return [
        Row(
            f"`POST /generate` to 201 at {RATE_PER_S}/s, separate processes",
            "-",
            f"p50 {value('generate_p50_ms')} ms, p99 {value('generate_p99_ms')} ms",
            "p50 15 ms, p99 80 ms",
        ),
        Row(
            "the same, sustained, 32 clients",
            "-",
            f"{value('sustained_per_s'):,.0f}/s",
            "300/s",
        ),
        Row(
            "whole saga, accepted to completed",
            f"{ratio(cases, 'saga_per_s', 'product', 'celery')}x Celery",
            f"{value('saga_per_s'):,.0f}/s"
            f" (Celery {cases['celery']['saga_per_s']['median']:,.0f}/s)",
            "2x, 150/s",
        ),
    ]


async def _product() -> Figures:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        async with fresh_database() as dsn, fresh_queues() as prefix:
            settings = {
                "DATABASE_URL": dsn,
                "RABBITMQ_URL": RABBITMQ,
                "SMARTSPEC_QUEUE_PREFIX": prefix,
                "SMARTSPEC_FIRST_LOOK_S": "0.05",
                **UNMARKED,
                **VENDOR,
            }
            product = Product(Path(folder) / "home", settings, ("--separate",))
            try:
                await asyncio.to_thread(product.start)
                return await _driven(product)
            finally:
                await asyncio.to_thread(product.kill)


async def _driven(product: Product) -> Figures:
    with ExitStack() as users:
        keys = await asyncio.to_thread(
            lambda: [users.enter_context(new_user(product)).key for _ in range(USERS)]
        )
    connector = aiohttp.TCPConnector(limit=AT_ONCE * 4)
    async with aiohttp.ClientSession(product.url, connector=connector) as client:
        driver = _Driver(client, keys)
        database = await asyncpg.connect(product.dsn)
        try:
            return {
                **await _created(driver, database),
                **await _sustained(driver, database),
                **await _sagas(driver, database, Spending(product.process.pid, database)),
            }
        finally:
            await database.close()


class _Driver:
    """Asks for pictures, each time as the next user; every answer must be a 201."""

    def __init__(self, client: aiohttp.ClientSession, keys: Sequence[str]) -> None:
        self.asked = 0
        self.took_s: list[float] = []
        self._client = client
        self._keys = keys

    async def ask(self, _: int = 0) -> None:
        self.asked += 1
        body = {
            "model_id": "nano-banana-pro",
            "prompt": "a quiet harbour",
            "options": {"resolution": "256x256"},
        }
        headers = {"X-API-Key": self._keys[self.asked % len(self._keys)]}
        began_s = perf_counter()
        async with self._client.post(f"{V2}/generate", json=body, headers=headers) as answer:
            said = await answer.text()
        self.took_s.append(perf_counter() - began_s)
        assert answer.status == CREATED, said


async def _created(driver: _Driver, database: asyncpg.Connection) -> Figures:
    await at_a_rate(driver.ask, per_s=RATE_PER_S, count=WARM_UP)
    await _until_all_completed(driver, database)
    driver.took_s.clear()
    await at_a_rate(driver.ask, per_s=RATE_PER_S, count=RATE_PER_S * RATE_FOR_S)
    await _until_all_completed(driver, database)
    return {f"generate_{name}": value for name, value in latency_ms(driver.took_s).items()}


async def _sustained(driver: _Driver, database: asyncpg.Connection) -> Figures:
    """While the tasks that were created are carried out, on the same processors."""
    found = await as_fast_as_possible(driver.ask, at_once=AT_ONCE, for_s=SUSTAINED_FOR_S)
    await _until_all_completed(driver, database)
    return {"sustained_per_s": found["per_s"], "sustained_p99_ms": found["p99_ms"]}


async def _sagas(driver: _Driver, database: asyncpg.Connection, spending: Spending) -> Figures:
    """All are asked for at once; what each process spends on one of them says where it goes."""
    await spending.begin()
    began_s = perf_counter()
    await so_many_at_once(driver.ask, at_once=AT_ONCE, count=SAGAS)
    await _until_all_completed(driver, database)
    per_s = SAGAS / (perf_counter() - began_s)
    return {"saga_per_s": per_s, **await spending.cpu_ms(each_of=SAGAS)}


async def _until_all_completed(driver: _Driver, database: asyncpg.Connection) -> None:
    async with asyncio.timeout(END_TIMEOUT_S):
        while True:
            stages = await database.fetch(
                "SELECT stage, count(*) AS tasks FROM generation_read.generation_tasks"
                " GROUP BY stage"
            )
            tasks = {row["stage"]: row["tasks"] for row in stages}
            assert "failed" not in tasks, tasks
            if tasks == {"completed": driver.asked}:
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def _celery() -> Figures:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        async with fresh_database() as dsn, fresh_queues() as prefix, _vendor(folder) as vendor:
            queue = f"{prefix}celery"
            try:
                return await figures_of(
                    "celery_saga",
                    dsn=dsn,
                    url=RABBITMQ,
                    queue=queue,
                    vendor=vendor,
                    folder=folder,
                    count=SAGAS,
                )
            finally:
                await _delete(queue)


@asynccontextmanager
async def _vendor(folder: str) -> AsyncIterator[str]:
    """The simulator by itself, as the product has it."""
    port = quiet_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.simulator",
        cwd=folder,
        env={
            "PYTHONPATH": str(ROOT),
            "SIMULATOR_HOME": f"{folder}/simulator",
            "SIMULATOR_PORT": str(port),
            **VENDOR,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        await _until_ready(f"{address}/readyz")
        yield f"{address}/kie"
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(END_TIMEOUT_S), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(LOOK_EVERY_S)


async def _delete(queue: str) -> None:
    async with await aio_pika.connect(RABBITMQ) as connection:
        channel = await connection.channel()
        await channel.queue_delete(queue)


if __name__ == "__main__":
    sys.exit(run("saga", measure))
