"""python -m bench.consume: messages off a quorum queue, through the inbox into history, and their
acks; beside bare aio-pika and FastStream, which only acknowledge.

The effect is one event. `batches` share a commit as the inbox lets them, over many streams or one;
`one_by_one` has a commit for each message.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter, process_time
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.load import rate, so_many_at_once
from bench.peer import figures_of
from bench.repetitions import Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from bench.subject import HEARS, SCHEMA, add_to, message, new_store
from contracts.credits import CreditsReserved
from kernel.bus import RabbitMQBus
from kernel.bus.rabbitmq import PREFETCH
from kernel.bus.topology import Topology
from kernel.inbox import Inbox, Subscription
from kernel.lanes import BATCH_MAX
from kernel.outbox import IN_FLIGHT_MAX
from kernel.sql import Database
from kernel.unit import Unit
from tests.kernel.totals import TOTAL

MESSAGES: Final = 10_000
STREAMS: Final = 1_000
TIMEOUT_S: Final = 60.0


async def measure() -> dict[str, Any]:
    result = await repeated(
        [
            Case("batches_many_streams", lambda: _kernel(STREAMS, BATCH_MAX)),
            Case("batches_one_stream", lambda: _kernel(1, BATCH_MAX)),
            Case("one_by_one", lambda: _kernel(STREAMS, 1)),
            Case("bare_aio_pika", _bare),
            Case("faststream", _faststream),
        ]
    )
    return {"servers": await facts(), **result, "table": _table(result["cases"])}


def _table(cases: Medians) -> list[Row]:
    def rate_of(case: str) -> str:
        return f"{cases[case]['per_s']['median']:,.0f}/s"

    return [
        Row(
            "consume, inbox, one event, ack: batches, 1,000 streams",
            f"{ratio(cases, 'per_s', 'batches_many_streams', 'bare_aio_pika')} of bare aio-pika,"
            " which only acknowledges",
            f"{rate_of('batches_many_streams')}, one stream {rate_of('batches_one_stream')}"
            f" (aio-pika {rate_of('bare_aio_pika')}, FastStream {rate_of('faststream')})",
            "4,000/s",
        ),
        Row(
            "the same, a commit for each message",
            f"{ratio(cases, 'per_s', 'one_by_one', 'bare_aio_pika')}",
            rate_of("one_by_one"),
            "2,000/s",
        ),
    ]


async def _kernel(streams: int, together_max: int) -> Figures:
    async with fresh_database(SCHEMA) as dsn, _full_queue(streams) as prefix:
        database = await Database.connect(dsn)
        try:
            return await _consumed(database, prefix, together_max)
        finally:
            await database.close()


async def _consumed(database: Database, prefix: str, together_max: int) -> Figures:
    handled = _Countdown(MESSAGES)
    store = new_store(database)
    store.on_commit(lambda recorded, _: handled.down(len(recorded)))

    async def add(event: CreditsReserved, unit: Unit) -> None:
        await add_to(unit, _stream_of(event))

    heard = Subscription(CreditsReserved, add, _stream_of, lambda event: {_stream_of(event): TOTAL})
    inbox = Inbox(HEARS, store, [heard], together_max=together_max)
    bus = RabbitMQBus(RABBITMQ, prefix=prefix)
    bus.subscribe(HEARS, inbox.receive, inbox.keep_crashed)
    began_s, began_cpu_s = perf_counter(), process_time()
    await bus.start()
    await handled.wait()
    await bus.quiesce()  # which is when all are acknowledged
    figures = rate(MESSAGES, perf_counter() - began_s, process_time() - began_cpu_s)
    await bus.stop()
    assert await inbox.parked() == []
    return figures


def _stream_of(event: CreditsReserved) -> str:
    return f"total-{event.account_id}"


class _Countdown:
    """Ends when so many have been counted."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._ended = asyncio.Event()

    def down(self, count: int = 1) -> None:
        self._left -= count
        if self._left <= 0:
            self._ended.set()

    async def wait(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self._ended.wait()


async def _bare() -> Figures:
    async with _full_queue(STREAMS) as prefix:
        acknowledged = _Countdown(MESSAGES)

        async def take(message: AbstractIncomingMessage) -> None:
            await message.ack()
            acknowledged.down()

        connection = await aio_pika.connect(RABBITMQ)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            queue = await channel.get_queue(Topology(prefix).inbox(HEARS))
            began_s, began_cpu_s = perf_counter(), process_time()
            await queue.consume(take)
            await acknowledged.wait()
            return rate(MESSAGES, perf_counter() - began_s, process_time() - began_cpu_s)


async def _faststream() -> Figures:
    async with _full_queue(STREAMS) as prefix:
        return await figures_of(
            "faststream_consume",
            url=RABBITMQ,
            queue=Topology(prefix).inbox(HEARS),
            count=MESSAGES,
            prefetch=PREFETCH,
        )


@asynccontextmanager
async def _full_queue(streams: int) -> AsyncIterator[str]:
    """The prefix of a topology whose inbox of `HEARS` holds `MESSAGES`."""
    async with fresh_queues() as prefix:
        bus = RabbitMQBus(RABBITMQ, prefix=prefix)
        await bus.start()
        await so_many_at_once(
            lambda nth: bus.publish(message(nth % streams)), at_once=IN_FLIGHT_MAX, count=MESSAGES
        )
        await bus.stop()
        yield prefix


if __name__ == "__main__":
    sys.exit(run("consume", measure))
