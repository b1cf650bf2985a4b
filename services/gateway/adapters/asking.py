"""The client's side of a request to a service: its body as it comes, and whether it still waits.

One time limit serves both ends: it runs while the service takes nothing of the body, and it runs
out at once when the client leaves, which ends whatever is being waited for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive

WHOLE_BYTES_MAX: Final = 65_536
"""A body that came in one message of at most so many bytes is sent as it is."""
WATCH_AFTER_S: Final = 0.1
"""Most answers come sooner, and a task for each of them is not worth it."""

Body = bytes | AsyncIterator[bytes] | None


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Asking:
    """Of one request. `limit` is to be entered around all that is done for it; when that raises
    and `left` is true, the client is the reason."""

    __slots__ = ("_receive", "_timeout_s", "_watch", "_watch_later", "left", "limit")

    def __init__(self, receive: Receive, timeout_s: float) -> None:
        self.limit = asyncio.timeout(None)
        self.left = False
        self._receive = receive
        self._timeout_s = timeout_s
        self._watch: asyncio.Task[None] | None = None
        self._watch_later: asyncio.TimerHandle | None = None

    async def body(self) -> Body:
        """None, the whole, or its pieces. Raises `ClientLeft`."""
        first = await self._received()
        whole: bytes = first.get("body", b"")
        if first.get("more_body") or len(whole) > WHOLE_BYTES_MAX:
            return self._pieces(first)
        self._start_watching()
        return whole or None

    def forget(self) -> None:
        """The request is over: watch its client no longer."""
        if self._watch_later is not None:
            self._watch_later.cancel()
        if self._watch is not None:
            self._watch.cancel()

    async def _pieces(self, message: Message) -> AsyncIterator[bytes]:
        """Must not end before the body does: the service would take a part for the whole."""
        clock = asyncio.get_running_loop().time
        while True:
            piece: bytes = message.get("body", b"")
            if piece:
                self.limit.reschedule(clock() + self._timeout_s)
                yield piece
                self.limit.reschedule(None)
            if not message.get("more_body"):
                break
            message = await self._received()
        self._start_watching()

    def _start_watching(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch_later = loop.call_later(WATCH_AFTER_S, self._watch_now)

    def _watch_now(self) -> None:
        self._watch = asyncio.create_task(self._until_left())

    async def _until_left(self) -> None:
        """After the body a server has nothing more to say but this."""
        with suppress(ClientLeft):
            await self._received()

    async def _received(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            self.left = True
            if not self.limit.expired():
                self.limit.reschedule(asyncio.get_running_loop().time())
            raise ClientLeft
        return message
