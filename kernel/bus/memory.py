"""The bus of one process: a delivery is a call."""

import asyncio
from uuid import UUID

from contracts.envelope import Envelope, PublicEvent
from contracts.events import EVENTS
from kernel.bus.listeners import HEAR_TIMEOUT_S, Listeners
from kernel.bus.port import Hear, Missed, Receive, Unroutable

STOP_TIMEOUT_S = 2.0


class MemoryBus:
    """Each delivery runs in a task of its own: a publisher that stops waiting cancels no handler
    in mid-commit, and one that tries again joins the delivery that still runs.
    """

    def __init__(
        self, *, hear_timeout_s: float = HEAR_TIMEOUT_S, stop_timeout_s: float = STOP_TIMEOUT_S
    ) -> None:
        self._stop_timeout_s = stop_timeout_s
        self._consumers: dict[str, Receive] = {}
        self._listeners = Listeners(hear_timeout_s)
        self._deliveries: dict[tuple[str, UUID], asyncio.Future[None]] = {}
        self._stopped = False

    async def start(self) -> None:
        """There is nothing to connect to."""

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
        if not self._stopped:
            await self._listeners.tell(envelope)

    def subscribe(self, consumer: str, receive: Receive, keep_crashed: Receive) -> None:  # noqa: ARG002 - who dies of a message takes this bus along
        if consumer in self._consumers:
            raise ValueError(f"{consumer} is subscribed already")
        self._consumers[consumer] = receive

    def listen(self, event: type[PublicEvent], hear: Hear, missed: Missed = lambda: None) -> None:
        self._listeners.add(event, hear, missed)

    def away_s(self) -> float:
        return 0.0

    async def quiesce(self) -> None:
        """No other process sends anything, and to publish is to deliver."""

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
