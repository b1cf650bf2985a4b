"""One service as a process of its own, `python -m services.<name>`: what containers run.

It may start before its database and its broker: it waits for the one, and the bus for the other.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from socket import socket
from typing import Any

import structlog
import uvloop
from starlette.types import ASGIApp

from kernel import logs
from kernel.bus import RabbitMQBus
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.migrations import migrate
from kernel.postgres_cluster import PostgresUnavailable
from kernel.runtime import Endpoint, Runtime, listening, metrics_endpoint
from kernel.secrets import Secrets, secrets_of
from kernel.service import Ground, Platform, Service
from kernel.settings import Settings, WrongSettings, read_settings
from kernel.sql import Database, until_there
from kernel.telemetry.observing import RABBITMQ, observed

Compose = Callable[[Platform, Secrets], Service]
ComposeEdge = Callable[[Ground, Secrets, Callable[[], bool]], Service]

_log = structlog.get_logger(__name__)


def run(name: str, compose: Compose, migrations: Path) -> int:
    """Serve a service that has tables, until a signal; its exit status."""

    async def serve(settings: Settings, edge: socket) -> int:
        if settings.database_url is None:
            raise WrongSettings(f"{name} can't start alone: set DATABASE_URL")
        if settings.public_base_url is None:
            raise WrongSettings(
                f"{name} can't start alone: set PUBLIC_BASE_URL, the gateway's address"
            )
        secrets, ground = _ground(name, settings, settings.public_base_url)
        dsn = settings.database_url
        await until_there(lambda: migrate(dsn, {name: migrations}))
        database = await until_there(
            lambda: Database.connect(
                dsn, application=name, connections_max=settings.database_connections_max
            )
        )
        try:
            service = compose(Platform.on(ground, database), secrets)
            return await _until_ended(Runtime([service], ground.bus, [_endpoint(service, edge)]))
        finally:
            await database.close()

    return _process(serve)


def run_once(work: Callable[[Database], Coroutine[Any, Any, tuple[int, str]]]) -> int:
    """Do `work` on the product's database, print its words, and return its exit status.

    Without `DATABASE_URL` the embedded server of `SMARTSPEC_HOME` is started for it, and ends with
    it; the product must be stopped then.
    """
    settings = read_settings(Settings)
    logs.configure(settings.log_level)

    async def once(dsn: str) -> tuple[int, str]:
        database = await Database.connect(dsn)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        with ExitStack() as ground:
            dsn = settings.database_url
            if dsn is None:
                postgres = EmbeddedPostgres(settings.home / "postgres")
                ground.callback(postgres.stop)
                dsn = postgres.start()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                status, words = runner.run(once(dsn))
    except (PostgresUnavailable, OSError) as error:
        sys.stderr.write(f"SmartSpec can't go on: {error}\n")
        return 1
    sys.stdout.write(f"{words}\n")
    return status


def run_edge(name: str, compose: ComposeEdge) -> int:
    """Serve a service without tables; it is told whether the process takes requests."""

    async def serve(settings: Settings, edge: socket) -> int:
        address = f"http://{settings.host}:{edge.getsockname()[1]}"
        secrets, ground = _ground(name, settings, settings.public_base_url or address)
        service = compose(ground, secrets, lambda: runtime.ready)
        endpoints = [_endpoint(service, edge)]
        if settings.metrics_port is not None:
            endpoints.append(metrics_endpoint(settings))
        runtime = Runtime([service], ground.bus, endpoints)
        return await _until_ended(runtime)

    return _process(serve)


def run_app(runtime: Callable[[], Runtime]) -> int:
    """Serve what needs neither database nor bus."""
    settings = read_settings(Settings)
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_ended(runtime()))


def _process(serve: Callable[[Settings, socket], Coroutine[Any, Any, int]]) -> int:
    settings = read_settings(Settings)
    logs.configure(settings.log_level)
    with (
        listening(settings.host, settings.port) as edge,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(observed(serve(settings, edge), settings.otlp_endpoint, RABBITMQ))


def _ground(name: str, settings: Settings, public_base_url: str) -> tuple[Secrets, Ground]:
    """Raises `WrongSettings` for what a process of several can't do without."""
    if settings.rabbitmq_url is None:
        raise WrongSettings(f"{name} can't start alone: set RABBITMQ_URL")
    if settings.in_production and settings.simulator_url is not None:
        raise WrongSettings("SmartSpec can't start: production refuses SIMULATOR_URL")
    secrets = secrets_of(settings)
    bus = RabbitMQBus(
        settings.rabbitmq_url, prefix=settings.queue_prefix, name=f"{name}-{os.getpid()}"
    )
    return secrets, Ground.of(secrets, bus, public_base_url, settings.simulator_url)


def _endpoint(service: Service, edge: socket) -> Endpoint:
    app: ASGIApp | None = service.app
    assert app is not None, f"{service.name} serves HTTP"
    return Endpoint(service.name, app, edge)


async def _until_ended(runtime: Runtime) -> int:
    async def on_ready() -> None:
        _log.info("ready")

    return 0 if await runtime.run(on_ready) else 1
