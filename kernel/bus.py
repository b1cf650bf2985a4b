"""The bus: what it promises, and the implementation for one process.

A publish is confirmed when each durable consumer of the event has recorded the message (done, to be
retried, or parked), never when its consequences have happened. A message may come twice, and in any
order. Broadcasts are heard by whoever listens at that moment, and may be lost.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

import structlog

from contracts.envelope import Envelope, PublicEvent
from contracts.events import EVENTS

Receive = Callable[[Envelope], Awaitable[None]]
"""Records the message, or raises when it could not."""
Hear = Callable[[Envelope], Awaitable[None]]
"""Takes notice; what it raises is logged and forgotten."""

HEAR_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 2.0

_log = structlog.get_logger(__name__)


class Unroutable(Exception):
    """A consumer that the contract names is not there: the message stays with its publisher."""


class Bus(Protocol):
    async def publish(self, envelope: Envelope) -> None:
        """Return when every consumer named in the contract has recorded the message.

        Raises `Unroutable` or what the transport raises; then it is published again later.
        """
        ...

    async def broadcast(self, envelope: Envelope) -> None:
        """Tell every listener of this moment, and nobody later."""
        ...

    def subscribe(self, consumer: str, receive: Receive) -> None:
        """Deliver every event whose contract names `consumer` to `receive`."""
        ...

    def listen(self, event: type[PublicEvent], hear: Hear) -> None:
        """Also tell `hear` of every `event`, published or broadcast, while this process lives."""
        ...

    async def stop(self) -> None:
        """Deliver nothing more; what is being delivered is finished."""
        ...


class MemoryBus:
    """The bus of one process: a delivery is a call.

    It runs in a task of its own: a publisher that stops waiting cancels no handler in mid-commit,
    and one that tries again joins the delivery that still runs.
    """

    def __init__(
        self, *, hear_timeout_s: float = HEAR_TIMEOUT_S, stop_timeout_s: float = STOP_TIMEOUT_S
    ) -> None:
        self._hear_timeout_s = hear_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._consumers: dict[str, Receive] = {}
        self._listeners: dict[str, list[Hear]] = {}
        self._deliveries: dict[tuple[str, UUID], asyncio.Future[None]] = {}
        self._stopped = False

    async def publish(self, envelope: Envelope) -> None:
        if self._stopped:
            raise Unroutable("the bus has stopped")
        await self.broadcast(envelope)
        consumers = EVENTS[envelope.type].consumers
        missing = [name for name in consumers if name not in self._consumers]
        if missing:
            raise Unroutable(f"{envelope.type} has no consumer {', '.join(missing)} yet")
        deliveries = [self._deliver(name, envelope) for name in consumers]
        if deliveries:
            await asyncio.wait(deliveries)
        for delivery in deliveries:
            if delivery.cancelled():
                raise Unroutable("the delivery was cut off")
            delivery.result()

    async def broadcast(self, envelope: Envelope) -> None:
        if self._stopped:
            return
        for hear in self._listeners.get(envelope.type, ()):
            try:
                async with asyncio.timeout(self._hear_timeout_s):
                    await hear(envelope)
            except Exception:  # noqa: BLE001 - a listener's fault must not stop the publisher or its peers
                _log.exception("listener_failed", message_type=envelope.type)

    def subscribe(self, consumer: str, receive: Receive) -> None:
        if consumer in self._consumers:
            raise ValueError(f"{consumer} is subscribed already")
        self._consumers[consumer] = receive

    def listen(self, event: type[PublicEvent], hear: Hear) -> None:
        self._listeners.setdefault(event.type_name(), []).append(hear)

    async def stop(self) -> None:
        """Also cuts off what is not delivered within `stop_timeout_s`: it was not confirmed."""
        self._stopped = True
        if not self._deliveries:
            return
        _, late = await asyncio.wait(self._deliveries.values(), timeout=self._stop_timeout_s)
        for delivery in late:
            delivery.cancel()
        if late:
            await asyncio.wait(late)

    def _deliver(self, consumer: str, envelope: Envelope) -> asyncio.Future[None]:
        key = (consumer, envelope.id)
        if key not in self._deliveries:
            delivery = asyncio.ensure_future(self._consumers[consumer](envelope))
            self._deliveries[key] = delivery
            delivery.add_done_callback(lambda done: self._forget(key, done))
        return self._deliveries[key]

    def _forget(self, key: tuple[str, UUID], delivery: asyncio.Future[None]) -> None:
        del self._deliveries[key]
        if not delivery.cancelled():
            delivery.exception()  # seen: its publisher may have stopped waiting
