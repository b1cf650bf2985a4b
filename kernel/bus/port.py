"""What a bus promises, whichever it is.

A publish is confirmed when nothing can lose the message any more: each durable consumer has
recorded it (done, to be retried, or parked), or a broker keeps it for them. It never says that its
consequences have happened. A message may come twice, and in any order. Broadcasts are heard by
whoever listens at that moment, and may be lost.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from contracts.envelope import Envelope, PublicEvent

Receive = Callable[[Envelope], Awaitable[None]]
"""Records the message, or raises when it could not."""
Hear = Callable[[Envelope], Awaitable[None]]
"""Takes notice; what it raises is logged and forgotten."""
Missed = Callable[[], None]
"""Forgets what was learned by listening: something may have been said meanwhile."""


class Unroutable(Exception):
    """A consumer that the contract names is not there: the message stays with its publisher."""


class Bus(Protocol):
    async def start(self) -> None:
        """Begin to deliver, when all have subscribed; a transport that is away may come later."""
        ...

    async def publish(self, envelope: Envelope) -> None:
        """Return when no consumer named in the contract can miss the message any more.

        Raises `Unroutable` or what the transport raises; then it is published again later.
        """
        ...

    async def broadcast(self, envelope: Envelope) -> None:
        """Tell every listener of this moment, and nobody later."""
        ...

    def subscribe(self, consumer: str, receive: Receive, keep_crashed: Receive) -> None:
        """Deliver every event whose contract names `consumer` to `receive`.

        `keep_crashed` records a message that came back again and again, because whoever had it
        died or lost its connection.
        """
        ...

    def listen(self, event: type[PublicEvent], hear: Hear, missed: Missed = lambda: None) -> None:
        """Also tell `hear` of every `event`, published or broadcast, while this process lives.

        `missed` is called after each gap in which it may not have heard some.
        """
        ...

    def away_s(self) -> float:
        """For how long nothing could be published; 0 while it can."""
        ...

    async def quiesce(self) -> None:
        """Take nothing new from other processes, and finish what is being delivered."""
        ...

    async def stop(self) -> None:
        """Deliver and publish nothing more; what is being delivered is finished."""
        ...
