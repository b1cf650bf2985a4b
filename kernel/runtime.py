"""The process: serves the apps, starts services, and ends them so that nothing in flight is lost.

Ending: unready, stop accepting, end waits and workers, hear nothing more, flush the outboxes, close
pools. What runs
under this (an embedded PostgreSQL) ends after it.
"""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from kernel.bus import Bus
from kernel.service import Service
from kernel.settings import Settings, WrongSettings
from kernel.telemetry.exposition import metrics_app

ACCEPT_END_TIMEOUT_S = 1
BACKLOG = 2_048
QUIET_PORTS = range(20_000, 32_000)
NEW_OBJECTS_MAX = 20_000
OLDER_LOOKS = (20, 50)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """An app and the socket on which it is served."""

    name: str
    app: ASGIApp
    socket: socket.socket

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return bound


def quiet_port(start: int = 0) -> int:
    """A free loopback port that stays free: below those that systems give to outgoing connections,
    so that nobody takes it by chance while its server is down. The search begins at `start`.

    Raises OSError when there is none.
    """
    for offset in range(len(QUIET_PORTS)):
        port = QUIET_PORTS[(start + offset) % len(QUIET_PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The same for as long as it is needed. Raises `WrongSettings` when it can't be had."""
    try:
        bound = bind(host, port)
    except OSError as error:
        raise WrongSettings(
            f"SmartSpec can't start: it can't listen on {host}:{port} ({error.strerror});"
            " set PORT or HOST"
        ) from None
    with bound:
        yield bound


@contextlib.contextmanager
def held(home: Path) -> Iterator[None]:
    """The home is this process's alone: its objects, secrets, and what the simulator keeps.

    A killed process lets go of it. Raises `WrongSettings` when another one runs there.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongSettings(
                f"SmartSpec can't start: it already runs in {home.resolve()};"
                " end it first, or set SMARTSPEC_HOME to another folder"
            ) from None
        yield
    finally:
        os.close(lock)


def metrics_endpoint(settings: Settings) -> Endpoint:
    """Of a process whose own address clients can reach. Raises `WrongSettings`."""
    assert settings.metrics_port is not None, "somebody wants it"
    try:
        return Endpoint("metrics", metrics_app, bind(settings.host, settings.metrics_port))
    except OSError as error:
        raise WrongSettings(
            f"SmartSpec can't start: METRICS_PORT {settings.metrics_port}: {error.strerror}"
        ) from None


def collect_garbage_rarely() -> None:
    """For a process that has built what it lives with: leave that alone, and look less often for
    cycles among what is new.

    A service makes thousands of objects for a message, nearly all without cycles; looking after
    each 700 of them, as Python does by itself, was a fifth of a reservation. What can pile up until
    the next look is `NEW_OBJECTS_MAX` objects, a few MB.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_MAX, *OLDER_LOOKS)


class _Server(uvicorn.Server):
    """uvicorn, with signals left to the runtime."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Runtime:
    """Runs `services` on `bus`, and serves `endpoints`."""

    def __init__(
        self, services: Sequence[Service], bus: Bus, endpoints: Sequence[Endpoint]
    ) -> None:
        self._services = services
        self._bus = bus
        self._endpoints = endpoints
        self._stop = asyncio.Event()
        self._failed: list[str] = []
        self.ready = False

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> bool:
        """Until a signal or `stop`; whether it ended because it was asked to."""
        self._catch_signals()
        servers = [_server(endpoint) for endpoint in self._endpoints]
        serving: list[asyncio.Task[None]] = []
        try:
            for service in self._services:
                await service.start(self._bus, self._fail)
            await self._bus.start()
            for server, endpoint in zip(servers, self._endpoints, strict=True):
                serving.append(asyncio.create_task(self._serve(server, endpoint)))
            while not all(server.started for server in servers):
                if self._stop.is_set():
                    break
                await asyncio.sleep(0.005)
            collect_garbage_rarely()
            self.ready = not self._stop.is_set()
            if self.ready:
                await on_ready()
            await self._stop.wait()
        finally:
            await self._end(servers, serving)
        return not self._failed

    def stop(self) -> None:
        self._stop.set()

    async def _serve(self, server: uvicorn.Server, endpoint: Endpoint) -> None:
        """Until it is told to end; a server that ends by itself ends the process."""
        try:
            await server.serve([endpoint.socket])
        except (Exception, SystemExit):  # noqa: BLE001 - uvicorn exits where it can't start, too
            _log.exception("server_died", endpoint=endpoint.name)
        if not self._stop.is_set():
            _log.error("server_ended", endpoint=endpoint.name)
            self._fail(endpoint.name)

    def _fail(self, name: str) -> None:
        self._failed.append(name)
        self._stop.set()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)

    async def _end(
        self, servers: Sequence[uvicorn.Server], serving: Sequence[asyncio.Task[None]]
    ) -> None:
        self.ready = False
        for service in self._services:
            service.end_waits()
        for server in servers[:1]:  # the edge; what is served beside it stays until the end
            server.should_exit = True
        await asyncio.gather(*serving[:1], return_exceptions=True)
        await asyncio.gather(*(service.quiesce() for service in self._services))
        await self._bus.quiesce()
        if not self._failed:  # after a fault, what is unsaid stays in its outbox
            await asyncio.gather(*(service.flush() for service in self._services))
        await self._bus.stop()
        await asyncio.gather(*(service.stop() for service in self._services))
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving, return_exceptions=True)
        for endpoint in self._endpoints:
            endpoint.socket.close()  # a server that never started has not
        _log.info("ended")


def _server(endpoint: Endpoint) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            endpoint.app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=ACCEPT_END_TIMEOUT_S,
            server_header=False,
            proxy_headers=False,  # it would believe whoever asks from this machine
            date_header=True,
        )
    )
