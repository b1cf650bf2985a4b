"""The bus over RabbitMQ: publishes with confirms, consumes with acks after the commit.

One connection for the process, made anew whenever it is lost (`Link`). What is published meanwhile
waits, within its publisher's time-out; what was delivered meanwhile comes again.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import structlog
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import DeliveryError, PublishError

from contracts.envelope import Envelope, PublicEvent
from kernel.bus.amqp import (
    TRANSIENT,
    body_of,
    envelope_of,
    properties_of,
    sender_of,
    unreadable,
)
from kernel.bus.channels import Hearing, Take
from kernel.bus.link import Link, lossy, we_are_cancelled
from kernel.bus.listeners import HEAR_TIMEOUT_S, Listeners
from kernel.bus.port import Hear, Missed, Receive, Unroutable
from kernel.bus.topology import Topology
from kernel.clock import new_id

PREFETCH: Final = 200
PREFETCH_CRASHED: Final = 10
PREFETCH_BROADCASTS: Final = 100
START_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 2.0
OPEN_TIMEOUT_S: Final = 30.0
"""The first declaration of quorum queues elects leaders: tenths of a second each."""
STEADY_AFTER_S: Final = 10.0
"""A link that lived so long is made anew as after the first loss."""
RECONNECT_FIRST_S: Final = 0.1
RECONNECT_MAX_S: Final = 5.0
RECEIVE_AGAIN_FIRST_S: Final = 0.1
RECEIVE_AGAIN_MAX_S: Final = 5.0

_log = structlog.get_logger(__name__)


class NotConfirmed(Exception):
    """The broker said no, or something that is no confirm: the message stays."""


class RabbitMQBus:
    """`prefix` is put before every name, so that several systems can share a broker."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        name: str = "smartspec",
        hear_timeout_s: float = HEAR_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._topology = Topology(prefix)
        self._name = name
        self._sender = str(new_id())
        self._stop_timeout_s = stop_timeout_s
        self._listeners = Listeners(hear_timeout_s)
        self._consumers: dict[str, tuple[Receive, Receive]] = {}
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._lost_at_s = 0.0
        self._linking: asyncio.Task[None] | None = None
        self._taking: set[asyncio.Task[None]] = set()
        self._quiet = False
        self._stopped = False

    async def start(self) -> None:
        """Returns when connected, or after `START_TIMEOUT_S`; then it goes on trying."""
        self._lost_at_s = asyncio.get_running_loop().time()
        self._linking = asyncio.create_task(self._keep_linked(), name="bus")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._linked.wait()
        except TimeoutError:
            _log.warning("bus_not_there_yet")

    async def publish(self, envelope: Envelope) -> None:
        """Wait while the broker is away; the caller bounds how long, and how many wait at once.

        Raises `Unroutable`, `NotConfirmed`, or what the transport raises: then it is not known
        whether the broker has it, and it is to be published again.
        """
        route = self._topology.route(envelope.type)
        link = self._link or await self._present_link()
        try:
            await link.publishing.publish(envelope, route)
        except PublishError as error:
            raise Unroutable(f"{envelope.type} was returned by the broker") from error
        except DeliveryError as error:
            raise NotConfirmed(envelope.type) from error

    async def broadcast(self, envelope: Envelope) -> None:
        """This process hears it at once, the others by way of the broker, if it is there."""
        if self._stopped:
            return
        await self._listeners.tell(envelope)
        link = self._link
        if link is None:
            return
        route = self._topology.route(envelope.type)
        async with lossy("broadcast_lost"):
            await link.broadcasting.basic_publish(
                body_of(envelope),
                exchange=route.exchange,
                routing_key=route.routing_key,
                properties=properties_of(envelope, delivery_mode=TRANSIENT, sender=self._sender),
                wait=False,
            )

    def subscribe(self, consumer: str, receive: Receive, keep_crashed: Receive) -> None:
        if consumer in self._consumers:
            raise ValueError(f"{consumer} is subscribed already")
        self._consumers[consumer] = (receive, keep_crashed)

    def listen(self, event: type[PublicEvent], hear: Hear, missed: Missed = lambda: None) -> None:
        self._listeners.add(event, hear, missed)

    def away_s(self) -> float:
        if self._link is not None:
            return 0.0
        return asyncio.get_running_loop().time() - self._lost_at_s

    async def quiesce(self) -> None:
        """What is not recorded within `stop_timeout_s` is dropped, and comes again to another."""
        self._quiet = True
        if self._link is not None:
            async with lossy("bus_left_without_goodbye"):
                await self._link.stop_consuming()
        if self._taking:
            _, late = await asyncio.wait(self._taking, timeout=self._stop_timeout_s)
            await _cancelled(late)

    async def stop(self) -> None:
        await self.quiesce()
        self._stopped = True
        self._linked.set()  # who waits to publish is told
        if self._linking is not None:
            await _cancelled([self._linking])
        await _cancelled(self._taking)

    async def _present_link(self) -> Link:
        while True:
            if self._stopped:
                raise Unroutable("the bus has stopped")
            if self._link is not None:
                return self._link
            await self._linked.wait()

    async def _keep_linked(self) -> None:
        """For as long as the process lives: without this task it is deaf and mute."""
        loop = asyncio.get_running_loop()
        delay_s = RECONNECT_FIRST_S
        while True:
            began_s = loop.time()
            try:
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    link = await self._open_link()
            except (Exception, asyncio.CancelledError) as error:
                if we_are_cancelled():
                    raise
                _log.warning("bus_unreachable", error=type(error).__name__, again_in_s=delay_s)
            else:
                await self._until_lost(link)
                if loop.time() - began_s > STEADY_AFTER_S:
                    delay_s = RECONNECT_FIRST_S
            await asyncio.sleep(delay_s)
            delay_s = min(RECONNECT_MAX_S, delay_s * 2)

    async def _until_lost(self, link: Link) -> None:
        try:
            await self._up(link)
            _log.warning("bus_lost", what=await link.lost())
        finally:
            self._down()
            await link.close()

    async def _open_link(self) -> Link:
        """A link that delivers already, to those who have subscribed and listen."""
        link = await Link.open(self._url, self._topology, self._name)
        try:
            if self._listeners.types:
                await link.listen(self._listeners.types, PREFETCH_BROADCASTS, self._hear_now)
            if not self._quiet:
                for consumer, (receive, keep_crashed) in self._consumers.items():
                    inbox, crashed = (
                        self._topology.inbox(consumer),
                        self._topology.crashed(consumer),
                    )
                    await link.consume(inbox, PREFETCH, self._take_from(link, receive))
                    await link.consume(
                        crashed, PREFETCH_CRASHED, self._take_from(link, keep_crashed)
                    )
        except BaseException:
            await link.close()
            raise
        return link

    async def _up(self, link: Link) -> None:
        """What was said before the listener's queue was there has been missed."""
        if self._quiet:
            await link.stop_consuming()
        self._link = link
        self._linked.set()
        self._listeners.missed()
        _log.info("bus_connected")

    def _down(self) -> None:
        self._link = None
        self._lost_at_s = asyncio.get_running_loop().time()
        if not self._stopped:
            self._linked.clear()

    def _take_from(self, link: Link, receive: Receive) -> Take:
        return lambda hearing, message: self._spawn(self._take(link, receive, hearing, message))

    def _hear_now(self, hearing: Hearing, message: DeliveredMessage) -> None:
        self._spawn(self._hear(hearing, message))

    def _spawn(self, taking: Coroutine[Any, Any, None]) -> None:
        """In a task of our own: those of a channel are cancelled with it, in mid-commit."""
        task = asyncio.create_task(taking)
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(
        self,
        link: Link,
        receive: Receive,
        hearing: Hearing,
        message: DeliveredMessage,
    ) -> None:
        """Record the message, then acknowledge it.

        While it can't be recorded (the database is away) it is held and tried again: nothing is
        rejected, and what is held fills the prefetch window, which pauses the consumer.
        """
        try:
            envelope = envelope_of(message)
        except ValueError:
            envelope = unreadable(message)
            _log.error("message_unreadable", message_id=str(envelope.id))
        delay_s = RECEIVE_AGAIN_FIRST_S
        while True:
            try:
                await receive(envelope)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, an unrecorded message stays
                _log.warning(
                    "message_not_recorded", message_type=envelope.type, error=type(error).__name__
                )
            if link.is_lost or self._quiet:
                return
            await asyncio.sleep(delay_s)
            delay_s = min(RECEIVE_AGAIN_MAX_S, delay_s * 2)
        await _acknowledge(hearing, message)

    async def _hear(self, hearing: Hearing, message: DeliveredMessage) -> None:
        await _acknowledge(hearing, message)
        if sender_of(message) == self._sender:
            return
        try:
            envelope = envelope_of(message)
        except ValueError:
            _log.warning("broadcast_unreadable")
            return
        await self._listeners.tell(envelope)


async def _acknowledge(hearing: Hearing, message: DeliveredMessage) -> None:
    """Between the record and the ack: where the campaign's processes die."""
    hearing.acknowledge(message)


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
