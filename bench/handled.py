"""python -m bench.handled: from a commit in one service to its effect's commit in another, at a
fixed rate; beside RabbitMQ alone, from publish to delivery in another process.

The service that hears is a process of its own (`bench.hearing`). Both read the machine's monotonic
clock, which all processes share.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final

import aio_pika

from bench.load import at_a_rate, latency_ms
from bench.peer import ROOT
from bench.repetitions import Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from bench.subject import HEARS, ONE, SCHEMA, message, new_store
from kernel.bus import RabbitMQBus
from kernel.bus.amqp import body_of
from kernel.bus.topology import Topology
from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.outbox import Publisher
from kernel.sql import Database
from tests.kernel.totals import ADDING, running

RATE_PER_S: Final = 500
FOR_S: Final = 4
COUNT: Final = RATE_PER_S * FOR_S
WARM_UP: Final = RATE_PER_S
"""The first ones fill caches and pools; they are not counted."""
TIMEOUT_S: Final = 60.0

Moments = dict[str, float]
"""By message id, on the machine's monotonic clock."""


async def measure() -> dict[str, Any]:
    result = await repeated([Case("kernel", _kernel), Case("bare_aio_pika", _bare)])
    return {
        "rate_per_s": RATE_PER_S,
        "servers": await facts(),
        **result,
        "table": _table(result["cases"]),
    }


def _table(cases: Medians) -> list[Row]:
    def spread(case: str) -> str:
        return f"p50 {cases[case]['p50_ms']['median']} ms, p99 {cases[case]['p99_ms']['median']} ms"

    return [
        Row(
            f"commit in one service to handled in another, {RATE_PER_S}/s",
            f"{ratio(cases, 'p50_ms', 'kernel', 'bare_aio_pika')}x RabbitMQ alone at p50,"
            f" {ratio(cases, 'p99_ms', 'kernel', 'bare_aio_pika')}x at p99",
            f"{spread('kernel')} (RabbitMQ {spread('bare_aio_pika')})",
            "p50 8 ms, p99 50 ms",
        )
    ]


async def _kernel() -> Figures:
    async with fresh_database(SCHEMA, HEARS) as dsn, fresh_queues() as prefix:
        database = await Database.connect(dsn)
        bus = RabbitMQBus(RABBITMQ, prefix=prefix)
        store = new_store(database)
        publisher = Publisher(store, bus)
        await bus.start()
        try:
            async with running(publisher.run), _hearing("kernel", dsn, prefix) as hearing:
                committed = await _committed(store)
                return _spread(committed, await _heard(hearing))
        finally:
            await bus.stop()
            await database.close()


async def _committed(store: EventStore) -> Moments:
    moments: Moments = {}
    store.on_commit(
        lambda recorded, _: moments.update({str(item.event_id): monotonic() for item in recorded})
    )

    async def commit(nth: int) -> None:
        await store.handle(ADDING, f"total-{nth}", ONE)

    await at_a_rate(commit, per_s=RATE_PER_S, count=WARM_UP + COUNT)
    return moments


async def _bare() -> Figures:
    async with fresh_queues() as prefix:
        topology = Topology(prefix)
        connection = await aio_pika.connect(RABBITMQ)
        async with connection:
            channel = await connection.channel()
            await topology.declare(channel)
            async with _hearing("bare", "", prefix) as hearing:
                published = await _published(channel, topology.inbox(HEARS))
                return _spread(published, await _heard(hearing))


async def _published(channel: aio_pika.abc.AbstractChannel, queue: str) -> Moments:
    moments: Moments = {}
    body = body_of(message(0))

    async def publish(_: int) -> None:
        message_id = str(new_id())
        moments[message_id] = monotonic()
        await channel.default_exchange.publish(
            aio_pika.Message(
                body, message_id=message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            ),
            queue,
        )

    await at_a_rate(publish, per_s=RATE_PER_S, count=WARM_UP + COUNT)
    return moments


def _spread(began: Mapping[str, float], ended: Mapping[str, float]) -> Figures:
    counted = list(began)[WARM_UP:]
    return latency_ms([ended[message_id] - began[message_id] for message_id in counted])


@asynccontextmanager
async def _hearing(mode: str, dsn: str, prefix: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The other process, when it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.hearing",
        mode,
        dsn,
        prefix,
        str(WARM_UP + COUNT),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _heard(process: asyncio.subprocess.Process) -> Moments:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        moments: Moments = json.loads(await process.stdout.readline())
        return moments


if __name__ == "__main__":
    sys.exit(run("handled", measure))
