"""FastStream: take what a quorum queue holds, and acknowledge it."""

import asyncio
from time import perf_counter
from typing import Any

import uvloop
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from bench.peer import arguments, say


async def main() -> None:
    given = arguments()
    broker = RabbitBroker(given["url"], logger=None)
    queue = RabbitQueue(given["queue"], declare=False)
    ended = asyncio.Event()
    left = int(given["count"])

    @broker.subscriber(queue, channel=Channel(prefetch_count=given["prefetch"]))
    async def take(body: dict[str, Any]) -> None:  # noqa: ARG001 - its content is not looked at
        nonlocal left
        left -= 1
        if left == 0:
            ended.set()

    began_s = perf_counter()
    await broker.start()
    await ended.wait()
    say({"per_s": given["count"] / (perf_counter() - began_s)})
    await broker.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
