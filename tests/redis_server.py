"""The Redis of the run (`TEST_REDIS_URL`, else the standard local port) with names of each test's
own, and one that a test may kill."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kernel.clock import new_id, random_token
from kernel.runtime import quiet_port

VARIABLE: Final = "TEST_REDIS"
LOCAL_URL: Final = "redis://127.0.0.1:6379/0"
START_TIMEOUT_S: Final = 20


async def answers(url: str) -> bool:
    client = Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3)
    try:
        return bool(await client.ping())
    except (OSError, RedisError):
        return False
    finally:
        await client.aclose()


async def remove(url: str, prefix: str) -> None:
    """Delete every key that begins so."""
    client = Redis.from_url(url)
    async for key in client.scan_iter(f"{prefix}*", count=1_000):
        await client.delete(key)
    await client.aclose()


@pytest.fixture
def redis_url() -> str:
    url = os.environ.get(VARIABLE)
    if url is None:
        pytest.skip("no Redis on this machine")
    return url


@asynccontextmanager
async def own_names(url: str) -> AsyncIterator[str]:
    """A prefix of keys, which are removed at the end."""
    prefix = f"test-{new_id().hex}."
    yield prefix
    await remove(url, prefix)


@pytest.fixture
async def redis_prefix(redis_url: str) -> AsyncIterator[str]:
    async with own_names(redis_url) as prefix:
        yield prefix


class OwnRedis:
    """A server on a port that stays its own while it is down; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = quiet_port(int.from_bytes(random_token(2)))
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        self._process = self._started()
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await answers(self.url):  # noqa: ASYNC110 - it tells nobody of it
                await asyncio.sleep(0.01)

    def _started(self) -> subprocess.Popen[bytes]:
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        return subprocess.Popen(
            ["redis-server", *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """It takes connections, as its system does that for it, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """Not started."""
    if shutil.which("redis-server") is None:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            raise AssertionError("REQUIRE_SERVICES=1, but there is no redis-server to start")
        pytest.skip("no redis-server on this machine")
    server = OwnRedis(tmp_path)
    yield server
    server.kill()
