"""A client of an event stream, straight on an ASGI app: httpx waits for whole answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

from kernel.http import Identity
from kernel.http.identity import HEADER
from tests.generation.conftest import PATIENCE_S, Generation


@dataclass(frozen=True)
class Frame:
    event: str
    id: int | None
    data: Any


def frame_of(text: str) -> Frame | None:
    """None for a comment."""
    lines = [line for line in text.split("\n") if line and not line.startswith(":")]
    fields = dict(line.split(": ", 1) for line in lines)
    if not fields:
        return None
    number = int(fields["id"]) if "id" in fields else None
    return Frame(fields["event"], number, json.loads(fields["data"]))


@dataclass
class Stream:
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    _messages: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: bool = False

    def leave(self) -> None:
        self._left.set()

    async def next(self) -> Frame | None:
        """The next frame, or None when it has ended."""
        while True:
            message = await self._next()
            if not message["body"]:
                assert not message.get("more_body")
                return None
            frame = frame_of(message["body"].decode())
            if frame is not None:
                return frame

    async def comment(self) -> None:
        """Wait for one."""
        while frame_of((await self._next())["body"].decode()) is not None:
            pass

    async def rest(self) -> list[Frame]:
        frames = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        return frames

    async def begin(self) -> None:
        message = await self._next()
        self.status = message["status"]
        self.headers = {name.decode(): value.decode() for name, value in message["headers"]}

    async def _next(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return await self._messages.get()

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self._messages.put(message)


@asynccontextmanager
async def following(
    generation: Generation, caller: Identity, task: str, query: str = "", **headers: str
) -> AsyncIterator[Stream]:
    """The task's events, when the answer has begun."""
    app: ASGIApp | None = generation.service.app
    assert app is not None
    sent = {**headers, HEADER: generation.platform.internal_tokens.mint(caller)}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/api/v2/generation/tasks/{task}/events",
        "raw_path": b"",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (name.replace("_", "-").lower().encode(), value.encode())
            for name, value in sent.items()
        ],
        "client": None,
        "server": None,
    }
    stream = Stream()
    serving = asyncio.ensure_future(app(scope, stream.receive, stream.send))
    try:
        await stream.begin()
        yield stream
    finally:
        stream.leave()
        async with asyncio.timeout(PATIENCE_S):
            await serving
