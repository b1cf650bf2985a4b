"""Real servers on loopback: one that serves an app as a service does, and one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from kernel.runtime import bind
from services.gateway.adapters.http_upstream import HttpUpstream


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The base URL of uvicorn with `app`."""
    socket = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve([socket]))
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody of it
        await asyncio.sleep(0.001)
    try:
        yield url
    finally:
        server.should_exit = True
        await running


@dataclass
class Wire:
    """A connection that a misbehaving server has accepted."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heads: list[bytes]

    async def request(self) -> bytes:
        """The head of the next request, which is counted."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class Odd:
    """A server that does to each connection what a test says."""

    act: Callable[[Wire], Awaitable[None]]
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.act(Wire(reader, writer, self.heads))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has left
        finally:
            writer.close()


@asynccontextmanager
async def odd(act: Callable[[Wire], Awaitable[None]], port: int = 0) -> AsyncIterator[Odd]:
    server = Odd(act)
    listening = await asyncio.start_server(server._serve, "127.0.0.1", port)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


@asynccontextmanager
async def reaching(*base_urls: str, **options: Any) -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream("storage", base_urls, **options)
    try:
        yield upstream
    finally:
        await upstream.aclose()


def refusing() -> str:
    """The base URL of a port where nobody listens."""
    with bind("127.0.0.1", 0) as socket:
        return f"http://127.0.0.1:{socket.getsockname()[1]}"


def page(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
