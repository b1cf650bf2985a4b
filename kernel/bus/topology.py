"""Exchanges, queues and bindings on the broker, all of them from the contracts; it opens nothing.

    <owner>.events         topic exchange, one for each service that says something
    <consumer>.inbox       quorum queue, one for each service that must hear something
    <consumer>.crashed     quorum queue: what its consumers died of, to be parked
    <consumer>'s replicas  an exclusive queue for each process that listens

Every argument is explicit, so that RabbitMQ 3.10 and 4.x do the same.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aiormq.abc import FieldTable

from contracts.events import EVENTS

DELIVERY_LIMIT: Final = 10
"""Redeliveries of a message before it is `crashed`. A process that dies, or loses its connection,
counts against every message that it held, so this must not be small, and is not the last word."""
NO_DELIVERY_LIMIT: Final = 1_000_000
"""What is in `crashed` has nowhere else to go, and RabbitMQ 4 drops after 20 unless told."""
LISTENER_MESSAGES_MAX: Final = 10_000
LISTENER_MESSAGE_TTL_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes; `mandatory`: somebody must be there."""

    exchange: str
    routing_key: str
    mandatory: bool


class Topology:
    """`prefix` keeps deployments, or tests, on one broker apart."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._routes = {
            name: Route(
                self.exchange(event.owner), event.routing_key(), mandatory=bool(event.consumers)
            )
            for name, event in EVENTS.items()
        }
        self.owners = sorted({event.owner for event in EVENTS.values()})
        self.consumers = sorted({name for event in EVENTS.values() for name in event.consumers})

    def exchange(self, owner: str) -> str:
        return f"{self._prefix}{owner}.events"

    def inbox(self, consumer: str) -> str:
        return f"{self._prefix}{consumer}.inbox"

    def crashed(self, consumer: str) -> str:
        return f"{self._prefix}{consumer}.crashed"

    def route(self, event_type: str) -> Route:
        return self._routes[event_type]

    async def declare(self, channel: AbstractChannel) -> None:
        """All that is durable, whoever comes first: no event may meet a missing queue."""
        for owner in self.owners:
            await channel.declare_exchange(
                self.exchange(owner), ExchangeType.TOPIC, durable=True, auto_delete=False
            )
        for consumer in self.consumers:
            await channel.declare_queue(
                self.crashed(consumer),
                durable=True,
                arguments=_quorum({"x-delivery-limit": NO_DELIVERY_LIMIT}),
            )
            inbox = await channel.declare_queue(
                self.inbox(consumer),
                durable=True,
                arguments=_quorum(
                    {
                        "x-delivery-limit": DELIVERY_LIMIT,
                        "x-dead-letter-exchange": "",
                        "x-dead-letter-routing-key": self.crashed(consumer),
                        "x-dead-letter-strategy": "at-least-once",
                    }
                ),
            )
            for name, event in EVENTS.items():
                if consumer in event.consumers:
                    route = self.route(name)
                    await inbox.bind(route.exchange, route.routing_key)

    async def declare_listener(self, channel: AbstractChannel, types: Collection[str]) -> str:
        """The name of a queue of this connection alone, which hears `types` from now on."""
        queue = await channel.declare_queue(
            exclusive=True,
            auto_delete=True,
            arguments={
                "x-queue-type": "classic",
                "x-max-length": LISTENER_MESSAGES_MAX,
                "x-message-ttl": LISTENER_MESSAGE_TTL_MS,
                "x-overflow": "drop-head",
            },
        )
        for name in types:
            route = self.route(name)
            await queue.bind(route.exchange, route.routing_key)
        return str(queue.name)


def _quorum(more: Mapping[str, str | int]) -> FieldTable:
    """`reject-publish` is what at-least-once dead lettering asks for; with no length limit nothing
    is ever rejected, because one full queue would hold up its publisher for everyone."""
    return {"x-queue-type": "quorum", "x-overflow": "reject-publish", **more}
