"""FastStream: publish to a quorum queue that is there, each message confirmed."""

import asyncio
from time import perf_counter

import uvloop
from faststream.rabbit import RabbitBroker

from bench.load import so_many_at_once
from bench.peer import arguments, say


async def main() -> None:
    given = arguments()
    body = given["body"].encode()
    broker = RabbitBroker(given["url"], logger=None)
    await broker.connect()

    async def publish(_: int) -> None:
        await broker.publish(body, given["queue"], persist=True)

    began_s = perf_counter()
    await so_many_at_once(publish, at_once=given["at_once"], count=given["count"])
    say({"per_s": given["count"] / (perf_counter() - began_s)})
    await broker.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
