"""python -m bench.relay: an outbox onto a quorum queue with confirms, beside bare aio-pika,
FastStream and Celery.

Ours publishes what it committed, and deletes each row when its message is confirmed.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter, process_time
from typing import Any, Final

import aio_pika

from bench.load import rate, so_many_at_once
from bench.peer import figures_of
from bench.repetitions import Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from bench.subject import HEARS, SCHEMA, add_to_each, message, new_store
from kernel.bus import RabbitMQBus
from kernel.bus.amqp import PERSISTENT, body_of, properties_of
from kernel.bus.topology import Topology
from kernel.outbox import PENDING_MAX, Publisher
from kernel.sql import Database
from tests.kernel.totals import running

ROUNDS: Final = 2
"""Of `PENDING_MAX` messages, which is what a publisher takes from its commits at most."""
MESSAGES: Final = ROUNDS * PENDING_MAX
MESSAGES_OF_CELERY: Final = 3_000
IN_FLIGHT: Final = 100
COMMIT: Final = 100
DRAIN_TIMEOUT_S: Final = 60.0


async def measure() -> dict[str, Any]:
    result = await repeated(
        [
            Case("kernel", _kernel),
            Case("bare_aio_pika", _bare),
            Case("faststream", lambda: _peer("faststream_publish", MESSAGES)),
            Case("celery_with_confirms", lambda: _peer("celery_publish", MESSAGES_OF_CELERY)),
        ]
    )
    return {"servers": await facts(), **result, "table": _table(result["cases"])}


def _table(cases: Medians) -> list[Row]:
    def rate_of(case: str) -> str:
        return f"{cases[case]['per_s']['median']:,.0f}/s"

    return [
        Row(
            "relay: outbox to a quorum queue, confirmed and deleted",
            f"{ratio(cases, 'per_s', 'kernel', 'bare_aio_pika')} of bare aio-pika without a table",
            f"{rate_of('kernel')} (aio-pika {rate_of('bare_aio_pika')}, FastStream"
            f" {rate_of('faststream')}, Celery {rate_of('celery_with_confirms')})",
            "0.8",
        )
    ]


async def _kernel() -> Figures:
    async with fresh_database(SCHEMA) as dsn, fresh_queues() as prefix:
        database = await Database.connect(dsn)
        bus = RabbitMQBus(RABBITMQ, prefix=prefix)
        await bus.start()
        try:
            return await _relayed(database, bus)
        finally:
            await bus.stop()
            await database.close()


async def _relayed(database: Database, bus: RabbitMQBus) -> Figures:
    store = new_store(database)
    publisher = Publisher(store, bus)
    seconds = cpu_s = 0.0
    for nth in range(ROUNDS):
        streams = [f"total-{nth}-{stream}" for stream in range(PENDING_MAX)]
        for first in range(0, PENDING_MAX, COMMIT):
            await add_to_each(store, streams[first : first + COMMIT])
        began_s, began_cpu_s = perf_counter(), process_time()
        async with running(publisher.run):
            assert await publisher.drain(DRAIN_TIMEOUT_S)
            seconds += perf_counter() - began_s
            cpu_s += process_time() - began_cpu_s
    return rate(MESSAGES, seconds, cpu_s)


async def _bare() -> Figures:
    """The same message with the same properties, to the same kind of queue."""
    envelope = message(0)
    properties = properties_of(envelope, delivery_mode=PERSISTENT)
    async with fresh_queues() as prefix, _channel() as channel:
        topology = Topology(prefix)
        await topology.declare(channel)
        exchange = await channel.get_exchange(topology.exchange("credits"))
        sent = aio_pika.Message(
            body_of(envelope),
            headers=properties.headers,
            content_type=properties.content_type,
            delivery_mode=properties.delivery_mode,
            correlation_id=properties.correlation_id,
            message_id=properties.message_id,
            timestamp=properties.timestamp,
            type=properties.message_type,
        )
        key = topology.route(envelope.type).routing_key

        async def publish(_: int) -> None:
            await exchange.publish(sent, key)

        began_s, began_cpu_s = perf_counter(), process_time()
        await so_many_at_once(publish, at_once=IN_FLIGHT, count=MESSAGES)
        return rate(MESSAGES, perf_counter() - began_s, process_time() - began_cpu_s)


@asynccontextmanager
async def _channel() -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    connection = await aio_pika.connect(RABBITMQ)
    async with connection:
        yield await connection.channel()


async def _peer(name: str, count: int) -> Figures:
    body = body_of(message(0)).decode()
    async with fresh_queues() as prefix, _channel() as channel:
        queue = Topology(prefix).inbox(HEARS)
        await Topology(prefix).declare(channel)
        return await figures_of(
            name, url=RABBITMQ, queue=queue, count=count, at_once=IN_FLIGHT, body=body
        )


if __name__ == "__main__":
    sys.exit(run("relay", measure))
