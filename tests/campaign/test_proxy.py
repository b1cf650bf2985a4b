import asyncio
import errno
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from random import Random

import pytest

from tests.campaign.proxy import REPOSITORY, Counters, FaultProxy, ProxyEnded
from tests.kernel.embedded import wait_until

STARTS_A_PROXY = """
import sys
from tests.campaign.proxy import FaultProxy
proxy = FaultProxy("127.0.0.1", 1)
print(proxy.port, flush=True)
sys.stdin.read()
"""
LONG_ENOUGH_S = 0.5
"""A writer that is held up for so long is held up: loopback moves gigabytes meanwhile."""


class Stream:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> "Stream":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def echoed(self, sent: bytes) -> bytes:
        self.writer.write(sent)
        return await self.reader.readexactly(len(sent))

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of a server that answers with what it was sent."""
    echoes = set[asyncio.Task[None] | None]()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        echoes.add(asyncio.current_task())
        with suppress(OSError):
            while chunk := await reader.read(4096):
                writer.write(chunk)
                await writer.drain()
        await Stream(reader, writer).close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()
    await asyncio.gather(*filter(None, echoes))


@pytest.fixture
async def stream(proxy: FaultProxy) -> AsyncIterator[Stream]:
    """A connection through the proxy, in use."""
    stream = await Stream.to(proxy.port)
    assert await stream.echoed(b"hello") == b"hello"
    yield stream
    await stream.close()


@pytest.fixture
def rng() -> Random:
    return Random(1)  # noqa: S311 - no secret


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A server that reads nothing by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def until(proxy: FaultProxy, condition: Callable[[Counters], bool]) -> Counters:
    deadline = time.monotonic() + 5
    while not condition(counters := proxy.counters):
        assert time.monotonic() < deadline, f"waited in vain: {counters}"
        await asyncio.sleep(0)
    return counters


async def test_passes_on_what_either_side_says_and_counts_it(
    proxy: FaultProxy, stream: Stream
) -> None:
    assert await stream.echoed(b"x" * 100_000) == b"x" * 100_000
    counters = await until(proxy, lambda now: now.held == 0)
    assert counters == Counters(1, 1, to_target=100_005, to_client=100_005, held=0)


async def test_passes_on_that_a_side_has_closed(proxy: FaultProxy, stream: Stream) -> None:
    stream.writer.write_eof()
    assert await stream.reader.read() == b""
    await until(proxy, lambda now: now.open_now == 0)


async def test_latency_delays_each_direction(
    proxy: FaultProxy, stream: Stream, rng: Random
) -> None:
    proxy.latency(0.05, 0.0, rng)
    began = time.monotonic()
    assert await stream.echoed(b"late") == b"late"
    assert time.monotonic() - began >= 0.1


async def test_jitter_keeps_the_order(proxy: FaultProxy, stream: Stream, rng: Random) -> None:
    proxy.latency(0.0, 0.02, rng)
    for number in range(100):
        stream.writer.write(bytes([number]))
        await stream.writer.drain()
    assert await stream.reader.readexactly(100) == bytes(range(100))


async def test_slow_limits_the_bytes_of_a_second(proxy: FaultProxy, stream: Stream) -> None:
    proxy.slow(20_000)
    began = time.monotonic()
    assert await stream.echoed(b"x" * 4_000) == b"x" * 4_000
    assert time.monotonic() - began >= 0.15


async def test_a_cut_ends_connections_and_refuses_new_ones(
    proxy: FaultProxy, stream: Stream
) -> None:
    proxy.cut()
    with suppress(ConnectionResetError):
        assert await stream.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await Stream.to(proxy.port)
    assert proxy.counters.open_now == 0


async def test_heals_from_a_cut_on_the_same_port(proxy: FaultProxy) -> None:
    proxy.cut()
    proxy.heal()
    stream = await Stream.to(proxy.port)
    assert await stream.echoed(b"again") == b"again"
    await stream.close()


async def test_half_open_delivers_nothing_until_it_heals(proxy: FaultProxy, stream: Stream) -> None:
    proxy.half_open()
    stream.writer.write(b"unheard")
    stream.writer.write_eof()
    counters = await until(proxy, lambda now: now.held == len(b"unheard"))
    assert counters == Counters(1, 1, to_target=5, to_client=5, held=len(b"unheard"))
    proxy.heal()
    assert await stream.reader.read() == b"unheard"


async def test_half_open_accepts_new_connections_and_says_nothing(proxy: FaultProxy) -> None:
    proxy.half_open()
    stream = await Stream.to(proxy.port)
    stream.writer.write(b"anyone?")
    await until(proxy, lambda now: now.held == len(b"anyone?"))
    assert not stream.reader.at_eof()
    await stream.close()


async def test_a_reset_is_one_and_new_connections_are_fine(
    proxy: FaultProxy, stream: Stream
) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await stream.reader.read()
    another = await Stream.to(proxy.port)
    assert await another.echoed(b"fine") == b"fine"
    await another.close()


def test_a_reset_reaches_the_target_too(deaf: socket.socket) -> None:
    with (
        FaultProxy(*deaf.getsockname()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as client,
    ):
        accepted, _ = deaf.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)


def test_a_reader_that_does_not_read_holds_up_the_writer(deaf: socket.socket) -> None:
    with (
        FaultProxy(*deaf.getsockname()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG_ENOUGH_S) as client,
    ):
        with pytest.raises(TimeoutError):
            client.sendall(bytes(64 * 1024 * 1024))
        assert proxy.counters.held < 1024 * 1024


async def test_a_busy_link_delays_no_other(proxy: FaultProxy, stream: Stream) -> None:
    flood = await Stream.to(proxy.port)
    flood.writer.write(bytes(16 * 1024 * 1024))  # whose echo nobody reads
    await until(proxy, lambda now: now.to_client > 10)
    assert await stream.echoed(b"hello") == b"hello"
    flood.writer.transport.abort()


def test_a_target_that_is_away_resets_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = gone.getsockname()
    with (
        FaultProxy(*target) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client,
    ):
        client.recv(1)


def test_says_that_it_has_ended(deaf: socket.socket) -> None:
    proxy = FaultProxy(*deaf.getsockname())
    proxy.close()
    with pytest.raises(ProxyEnded, match="nothing to cut"):
        proxy.cut()


def test_ends_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_PROXY],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        parent.kill()
        wait_until(lambda: refuses(port))


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
