"""python -m tests.campaign.proxy_process HOST PORT: the child of `tests.campaign.proxy`.

Says its port, then answers each line of its input, `["verb", argument, ...]`, with its counters.
Ends at the end of its input.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
from dataclasses import asdict, dataclass
from random import Random
from typing import Final, Literal

CHUNK_BYTES: Final = 16 * 1024
CHUNKS_HELD: Final = 16
"""For each direction of a connection, beside what the system's buffers hold."""
SOCKET_BYTES: Final = 64 * 1024
BACKLOG: Final = 128
SLOW_STEP_S: Final = 0.02
_LINGER_NOT: Final = struct.pack("ii", 1, 0)

Side = Literal["to_target", "to_client"]


@dataclass
class Counts:
    """As `tests.campaign.proxy.Counters` says."""

    connections: int = 0
    open_now: int = 0
    to_target: int = 0
    to_client: int = 0
    held: int = 0


class Faults:
    """What is in force; each chunk asks anew."""

    def __init__(self) -> None:
        self.delivers = asyncio.Event()
        self.heal()

    def heal(self) -> None:
        self.latency(0.0, 0.0, 0)
        self.bytes_per_s: float | None = None
        self.delivers.set()

    def latency(self, seconds: float, jitter: float, seed: int) -> None:
        self._seconds, self._jitter = seconds, jitter
        self._rng = Random(seed)  # noqa: S311 - no secret, and the same again for the same seed

    def delay_s(self) -> float:
        return self._seconds + self._rng.uniform(0, self._jitter)

    def step_bytes(self) -> int:
        """How much may be delivered at once."""
        if self.bytes_per_s is None:
            return CHUNK_BYTES
        return min(CHUNK_BYTES, max(1, int(self.bytes_per_s * SLOW_STEP_S)))


class Link:
    """One connection and its twin to the target."""

    def __init__(self, faults: Faults, counts: Counts) -> None:
        self._faults = faults
        self._counts = counts
        self._writers: list[asyncio.StreamWriter] = []
        self._held = 0
        self.ends_by_reset = False

    async def run(
        self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter], host: str, port: int
    ) -> None:
        """Until both sides have closed, one is broken, or we are cancelled."""
        self._counts.connections += 1
        self._counts.open_now += 1
        self._writers.append(client[1])
        try:
            target = await _connect(host, port)
            self._writers.append(target[1])
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(client[0], target[1], "to_target"))
                both.create_task(self._pass(target[0], client[1], "to_client"))
        except* OSError:
            self.ends_by_reset = True  # what breaks one side breaks the other
        finally:
            self._counts.open_now -= 1
            self._counts.held -= self._held
            await self._end()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: Side
    ) -> None:
        chunks = asyncio.Queue[tuple[float, bytes]](CHUNKS_HELD)
        writer.transport.set_write_buffer_limits(high=0)  # so that a drain waits for the other end
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(reader, chunks))
            both.create_task(self._deliver(chunks, writer, side))

    async def _take(
        self, reader: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Take what comes, and say when it is due; the last is empty."""
        due, chunk = 0.0, b"..."
        while chunk:
            chunk = await reader.read(CHUNK_BYTES)
            self._hold(len(chunk))
            due = max(due, _now() + self._faults.delay_s())
            await chunks.put((due, chunk))

    async def _deliver(
        self,
        chunks: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        side: Side,
    ) -> None:
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(due - _now())
            await self._faults.delivers.wait()
            if not chunk:
                writer.write_eof()
                return
            await self._write(chunk, writer, side)

    async def _write(self, chunk: bytes, writer: asyncio.StreamWriter, side: Side) -> None:
        while chunk:
            await self._faults.delivers.wait()
            size = self._faults.step_bytes()
            step, chunk = chunk[:size], chunk[size:]
            writer.write(step)
            await writer.drain()
            self._hold(-len(step))
            setattr(self._counts, side, getattr(self._counts, side) + len(step))
            if self._faults.bytes_per_s is not None:
                await asyncio.sleep(len(step) / self._faults.bytes_per_s)

    def _hold(self, n_bytes: int) -> None:
        self._held += n_bytes
        self._counts.held += n_bytes

    async def _end(self) -> None:
        for writer in self._writers:
            if self.ends_by_reset:
                with contextlib.suppress(OSError):
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Proxy:
    """The port, and the links that come in by it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._faults = Faults()
        self._counts = Counts()
        self._links: dict[asyncio.Task[None], Link] = {}
        self._server: asyncio.Server | None = None
        self._place = _bound(0)  # stays ours while we listen to nobody
        self.port = int(self._place.getsockname()[1])

    async def listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, sock=_bound(self.port), backlog=BACKLOG, limit=CHUNK_BYTES
            )

    async def obey(self, verb: str, *arguments: float) -> Counts:
        match verb, arguments:
            case "latency", (seconds, jitter, seed):
                self._faults.latency(seconds, jitter, int(seed))
            case "slow", (bytes_per_s,):
                self._faults.bytes_per_s = bytes_per_s
            case "half_open", ():
                self._faults.delivers.clear()
            case "cut", ():
                if self._server is not None:
                    self._server.close()
                    self._server = None
                await self._end_links(by_reset=False)
            case "reset", ():
                await self._end_links(by_reset=True)
            case "heal", ():
                self._faults.heal()
                await self.listen()
            case "count", ():
                pass
            case _:
                raise ValueError(verb)
        return self._counts

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # cut off while it came in
            writer.transport.abort()
            return
        link, task = Link(self._faults, self._counts), asyncio.current_task()
        assert task is not None
        self._links[task] = link
        try:
            await link.run((reader, writer), *self._target)
        except asyncio.CancelledError:
            pass  # we were told to end it
        finally:
            del self._links[task]

    async def _end_links(self, *, by_reset: bool) -> None:
        links = dict(self._links)
        for task, link in links.items():
            link.ends_by_reset = by_reset
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _limit_buffers(bound)  # connections inherit it
    bound.bind(("127.0.0.1", port))
    return bound


def _limit_buffers(sock: socket.socket) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket()
    _limit_buffers(sock)
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return await asyncio.open_connection(sock=sock, limit=CHUNK_BYTES)
    except BaseException:
        sock.close()
        raise


async def _serve(host: str, port: int) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    proxy = Proxy(host, port)
    await proxy.listen()
    _say(str(proxy.port))
    while line := await commands.readline():
        verb, *arguments = json.loads(line)
        _say(json.dumps(asdict(await proxy.obey(verb, *arguments))))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
