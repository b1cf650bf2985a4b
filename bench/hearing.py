"""The service that hears, for `bench.handled`: it says "ready", then when each message was handled.

python -m bench.hearing kernel|bare DSN PREFIX COUNT
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from time import monotonic

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.servers import RABBITMQ
from bench.subject import HEARS, add_to
from contracts.credits import CreditsReserved
from kernel import logs
from kernel.bus import RabbitMQBus
from kernel.bus.rabbitmq import PREFETCH
from kernel.bus.topology import Topology
from kernel.clock import SystemClock
from kernel.event_store import EventStore
from kernel.inbox import Inbox, Subscription
from kernel.sql import Database
from kernel.unit import Recorded, Unit
from tests.kernel.totals import TOTAL, Added


class Heard:
    """When each message was handled, until `count` have been."""

    def __init__(self, count: int) -> None:
        self.at: dict[str, float] = {}
        self._count = count
        self._all = asyncio.Event()

    def note(self, message_id: str | None) -> None:
        assert message_id is not None
        self.at[message_id] = monotonic()
        if len(self.at) == self._count:
            self._all.set()

    async def all(self) -> None:
        await self._all.wait()


async def hear(heard: Heard, dsn: str, prefix: str) -> None:
    """As a service does: inbox, own event, commit, ack."""
    database = await Database.connect(dsn)
    store = EventStore(database, HEARS, [TOTAL], clock=SystemClock())

    def note(recorded: list[Recorded[Added]]) -> None:
        for item in recorded:
            heard.note(item.origin.causation_id)

    async def add(event: CreditsReserved, unit: Unit) -> None:
        await add_to(unit, f"total-{event.task_id}")

    store.on_commit(lambda recorded, _: note(list(recorded)))
    inbox = Inbox(HEARS, store, [Subscription(CreditsReserved, add, lambda e: str(e.task_id))])
    bus = RabbitMQBus(RABBITMQ, prefix=prefix)
    bus.subscribe(HEARS, inbox.receive, inbox.keep_crashed)
    await bus.start()
    await _told(heard)
    await bus.stop()
    await database.close()


async def hear_bare(heard: Heard, prefix: str) -> None:
    async def take(message: AbstractIncomingMessage) -> None:
        heard.note(message.message_id)
        await message.ack()

    connection = await aio_pika.connect(RABBITMQ)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(Topology(prefix).inbox(HEARS))
        await queue.consume(take)
        await _told(heard)


async def _told(heard: Heard) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await heard.all()
    sys.stdout.write(f"{json.dumps(heard.at)}\n")
    sys.stdout.flush()


def main(mode: str, dsn: str, prefix: str, count: str) -> None:
    with Path(os.devnull).open("w") as nowhere:
        logs.configure("INFO", nowhere)
        heard = Heard(int(count))
        work = hear(heard, dsn, prefix) if mode == "kernel" else hear_bare(heard, prefix)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
