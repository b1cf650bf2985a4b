"""Waiting for a change without holding a connection: subscribe first, act, read again on a change.

Changes arrive by broadcast and may be lost, so a waiter reads once more before it gives up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar
from uuid import UUID

from kernel.errors import Unavailable

T = TypeVar("T")

WAITERS_MAX = 10_000


class Turns:
    """At most `at_once` run at a time; the others wait for their turn, `timeout_s` at most.

    In a burst, work that has begun gets what it needs instead of sharing it with all the rest.
    """

    def __init__(self, at_once: int, timeout_s: float) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Raises `Unavailable` when no turn came in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable("busy", "Too many at once; try again.", retry_after_s=1) from None
        try:
            yield
        finally:
            self._slots.release()


class Waiters:
    """Who waits for what in this process, at most `WAITERS_MAX` at once."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, set[asyncio.Event]] = {}
        self._count = 0
        self._ending = False

    def changed(self, identity: UUID) -> None:
        """Wake everyone who waits for `identity`."""
        for event in self._by_id.get(identity, ()):
            event.set()

    def wake_all(self) -> None:
        """Changes may have been missed: everyone reads again."""
        for events in self._by_id.values():
            for event in events:
                event.set()

    def end(self) -> None:
        """Wake everyone; each answers with what it reads now. For shutting down."""
        self._ending = True
        self.wake_all()

    @property
    def ending(self) -> bool:
        """Whether whoever is woken is not to wait again."""
        return self._ending

    @contextmanager
    def subscribed(
        self, identity: UUID, wakened: asyncio.Event | None = None
    ) -> Iterator[asyncio.Event]:
        """The event that each change sets: `wakened`, or one of its own.

        Raises `Unavailable` when too many wait already.
        """
        if self._count >= WAITERS_MAX:
            raise Unavailable("too_many_waiters", "Too many requests wait.", retry_after_s=1)
        event = asyncio.Event() if wakened is None else wakened
        self._count += 1
        self._by_id.setdefault(identity, set()).add(event)
        try:
            yield event
        finally:
            self._count -= 1
            waiting = self._by_id[identity]
            waiting.discard(event)
            if not waiting:
                del self._by_id[identity]

    async def until(
        self,
        changed: asyncio.Event,
        read: Callable[[], Awaitable[T]],
        done: Callable[[T], bool],
        timeout_s: float,
    ) -> T:
        """Read until `done`, waking on each change; the last value read at the time-out."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            changed.clear()
            value = await read()
            remaining_s = deadline - asyncio.get_running_loop().time()
            if done(value) or remaining_s <= 0 or self._ending:
                return value
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining_s):
                    await changed.wait()
