"""Stands between a client and a server on this machine, and cuts their connections when told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PIECE_BYTES = 64 * 1024
FOREVER = 1_000_000


@dataclass
class Cut:
    """After so many bytes to the server, or from it, of all connections; so many times."""

    sent: int = FOREVER * PIECE_BYTES
    received: int = FOREVER * PIECE_BYTES
    times: int = 1


@dataclass
class CuttingProxy:
    """`sent` is what clients have said while it was kept; while it `hangs` nothing gets on."""

    target_port: int
    port: int = 0
    cuts: int = 0
    sent: bytes = b""
    keeps: bool = False
    hangs: bool = False
    _cut: Cut | None = None
    _left: Cut = field(default_factory=Cut)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Nobody is here any more; `start` takes the same port again."""
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            await self._server.wait_closed()

    def cut(self, cut: Cut | None) -> None:
        self._cut = cut
        if cut is not None:
            self._left = Cut(cut.sent, cut.received, cut.times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            answers, asked = await asyncio.open_connection("127.0.0.1", self.target_port)
            pair = {writer, asked}
            self._writers |= pair
            try:
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._pump(reader, asked, pair, to_server=True))
                    pumps.create_task(self._pump(answers, writer, pair, to_server=False))
            finally:
                self._writers -= pair
                for each in pair:
                    each.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
        *,
        to_server: bool,
    ) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE_BYTES):
                if to_server and self.keeps:
                    self.sent += piece
                if self._is_cut(len(piece), to_server=to_server):
                    break
                if self.hangs:
                    continue
                target.write(piece)
                await target.drain()
        for each in pair:
            each.transport.abort()

    def _is_cut(self, size: int, *, to_server: bool) -> bool:
        if self._cut is None:
            return False
        if to_server:
            self._left.sent -= size
        else:
            self._left.received -= size
        if self._left.sent >= 0 and self._left.received >= 0:
            return False
        self.cuts += 1
        self.cut(Cut(self._cut.sent, self._cut.received, self._cut.times - 1))
        if self._left.times == 0:
            self._cut = None
        return True


@asynccontextmanager
async def proxied(target_port: int) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(target_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
