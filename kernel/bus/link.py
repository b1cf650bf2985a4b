"""What connects a process to the broker, until any part of it is lost; then it is thrown away.

One connection speaks and one hears: when the broker runs short of memory or disk it stops reading
from who publishes, and acks must go on all the same.

Nothing is repaired in place: a new link declares everything anew, so there is one way to begin.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final, Self

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from kernel.bus.channels import Hearing, Speaking, Take
from kernel.bus.topology import Topology

HEARTBEAT_S: Final = 5
"""A peer that says nothing for about three of these is gone, whatever TCP believes."""
CONNECT_TIMEOUT_S: Final = 5.0
LOSSY_TIMEOUT_S: Final = 2.0

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def lossy(event: str) -> AsyncIterator[None]:
    """For what may be lost with the connection, and may not be waited for when it is.

    A dying channel raises many things, cancels who waits for it, or takes frames that nobody will
    ever write; only our own cancellation goes on.
    """
    try:
        async with asyncio.timeout(LOSSY_TIMEOUT_S):
            yield
    except (Exception, asyncio.CancelledError) as error:
        if we_are_cancelled():
            raise
        _log.info(event, error=type(error).__name__)


def we_are_cancelled() -> bool:
    """Whether a cancellation is meant for this task; else it is a dying channel's."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class Link:
    def __init__(
        self, speaking: AbstractConnection, hearing: AbstractConnection, topology: Topology
    ) -> None:
        self._speaking = speaking
        self._hearing = hearing
        self._topology = topology
        self._consuming: list[tuple[Channel, str]] = []
        self._speaks: list[Speaking] = []
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for connection in (speaking, hearing):
            connection.close_callbacks.add(lambda _, error: self._lose("connection", error))
        self.publishing: Speaking
        self.broadcasting: Channel

    @classmethod
    async def open(cls, url: str, topology: Topology, name: str) -> Self:
        """Connect and declare the whole topology. Raises what the transport raises."""
        speaking = await _connected(url, f"{name} speaks")
        try:
            hearing = await _connected(url, f"{name} hears")
        except BaseException:
            async with lossy("bus_was_gone_already"):
                await speaking.close()
            raise
        link = cls(speaking, hearing, topology)
        try:
            declaring = speaking.channel()
            await declaring.initialize()
            await topology.declare(declaring)
            await declaring.close()
            link.publishing = Speaking(await link._channel(speaking, publisher_confirms=True))
            link._speaks.append(link.publishing)
            link.broadcasting = await link._channel(speaking, publisher_confirms=False)
        except BaseException:
            await link.close()
            raise
        return link

    async def consume(self, queue: str, prefetch: int, take: Take) -> None:
        """Have the messages of `queue` taken, at most `prefetch` at once without their ack."""
        channel = await self._channel(self._hearing, publisher_confirms=False)
        await self._begin(channel, queue, prefetch, take)

    async def listen(self, types: Collection[str], prefetch: int, take: Take) -> None:
        """The same for a queue of this link alone, which hears events of `types`."""
        channel = self._hearing.channel(publisher_confirms=False)
        await channel.initialize()
        queue = await self._topology.declare_listener(channel, types)
        underlay = await self._watched(channel)
        await self._begin(underlay, queue, prefetch, take)

    async def lost(self) -> str:
        """Wait until it is; what was lost, in words."""
        return await asyncio.shield(self._lost)

    @property
    def is_lost(self) -> bool:
        return self._lost.done()

    async def stop_consuming(self) -> None:
        """Nothing more is delivered; what has been may still be acknowledged."""
        for channel, tag in self._consuming:
            if not channel.is_closed:
                await channel.basic_cancel(tag, timeout=LOSSY_TIMEOUT_S)
        self._consuming.clear()

    async def close(self) -> None:
        self._lose("closed", None)
        for connection in (self._hearing, self._speaking):
            async with lossy("bus_was_gone_already"):
                await connection.close()

    async def _begin(self, channel: Channel, queue: str, prefetch: int, take: Take) -> None:
        await channel.basic_qos(prefetch_count=prefetch)
        channel.on_consumer_cancel_callbacks.add(lambda _: self._lose(f"queue {queue}", None))
        Hearing(channel, take)
        answer = await channel.basic_consume(queue, _not_here)
        self._consuming.append((channel, str(answer.consumer_tag)))

    async def _channel(
        self, connection: AbstractConnection, *, publisher_confirms: bool
    ) -> Channel:
        channel = connection.channel(
            publisher_confirms=publisher_confirms, on_return_raises=publisher_confirms
        )
        await channel.initialize()
        return await self._watched(channel)

    async def _watched(self, channel: AbstractChannel) -> Channel:
        """Aiormq's channel under it, which does what the hot paths need at less cost."""
        channel.close_callbacks.add(lambda _, error: self._lose("channel", error))
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, Channel)
        return underlay

    def _lose(self, what: str, error: BaseException | None) -> None:
        if not self._lost.done():
            self._lost.set_result(f"{what}: {type(error).__name__}" if error else what)
            for speaking in self._speaks:
                speaking.lose()


async def _not_here(_: DeliveredMessage) -> None:
    raise AssertionError("messages are taken before aiormq sees them")


async def _connected(url: str, name: str) -> AbstractConnection:
    return await aio_pika.connect(
        url,
        timeout=CONNECT_TIMEOUT_S,
        heartbeat=HEARTBEAT_S,
        client_properties={"connection_name": name},
    )
