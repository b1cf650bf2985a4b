"""A vendor on loopback that says exactly what a test scripts."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Vendor:
    """Answers each connection with the next of `script`, bytes as they are, None by hanging up."""

    address: str = ""
    script: list[bytes | None] = field(default_factory=list)
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    dribbles: bool = False
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    def say(self, body: object, status: int = 200) -> None:
        self.say_text(json.dumps(body).encode(), status)

    def say_text(self, text: bytes, status: int = 200) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
        self.script.append(head.encode() + text)

    def hang_up(self) -> None:
        self.script.append(None)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with suppress(ConnectionError):  # the adapter has heard enough
            await self._answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def ended(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self._serving), 5)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (item.split(": ", 1) for item in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.heard.append((line, headers, body))
        answer = self.script.pop(0)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        while self.dribbles:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def listening() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    async with await asyncio.start_server(vendor.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        vendor.address = f"http://127.0.0.1:{port}"
        yield vendor
        await vendor.ended()
