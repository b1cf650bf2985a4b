"""Everything in one process: services call each other directly, and only the edge listens.

With `RABBITMQ_URL` they speak to each other, and to other processes, over RabbitMQ all the same.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import socket

from starlette.types import ASGIApp

from kernel.bus import Bus, MemoryBus, RabbitMQBus
from kernel.clock import Clock
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.migrations import migrate
from kernel.postgres_cluster import PostgresUnavailable
from kernel.runtime import Endpoint, Runtime, metrics_endpoint
from kernel.secrets import Secrets, secrets_of
from kernel.service import Ground, Platform, Service
from kernel.settings import Settings, read_settings
from kernel.sql import Database
from services import sandbox
from services.credits import app as credits_app
from services.gateway import app as gateway_app
from services.generation import app as generation_app
from services.keys import app as keys_app
from services.simulator import app as simulator_app
from services.simulator.settings import SimulatorSettings
from services.storage import app as storage_app

POSTGRES_LOOK_EVERY_S = 0.5


async def serve(
    settings: Settings,
    dsn: str,
    postgres: EmbeddedPostgres | None,
    edge: socket,
    migrations: Mapping[str, Path],
) -> int:
    """Until a signal; the exit status. `postgres` is ours alone, when it is given."""
    await migrate(dsn, migrations)
    secrets = secrets_of(settings)
    vendors = sandbox.vendors_socket(settings.home) if sandbox.is_on(settings) else None
    address = f"http://{settings.host}:{edge.getsockname()[1]}"
    vendors_url = settings.simulator_url
    if vendors is not None:
        vendors_url = f"http://127.0.0.1:{vendors.getsockname()[1]}"
    ground = Ground.of(secrets, _bus(settings), settings.public_base_url or address, vendors_url)
    database = await Database.connect(dsn, connections_max=settings.database_connections_max)
    try:
        platform = Platform.on(ground, database, sole_owner=postgres is not None)
        services = _services(platform, secrets, lambda: runtime.ready)
        endpoints = [Endpoint("gateway", _app(services["gateway"]), edge)]
        if vendors is not None:
            simulator = _simulator(settings, platform.clock)
            endpoints.append(Endpoint("simulator", simulator, vendors))
        if settings.metrics_port is not None:
            endpoints.append(metrics_endpoint(settings))
        guarded = [*services.values(), *_guards(postgres)]
        runtime = Runtime(guarded, platform.bus, endpoints)

        async def on_ready() -> None:
            sandbox.welcome(address, secrets if vendors is not None else None)

        return 0 if await runtime.run(on_ready) else 1
    finally:
        await database.close()


def _bus(settings: Settings) -> Bus:
    if settings.rabbitmq_url is None:
        return MemoryBus()
    return RabbitMQBus(settings.rabbitmq_url, prefix=settings.queue_prefix)


def _services(
    platform: Platform, secrets: Secrets, ready: Callable[[], bool]
) -> dict[str, Service]:
    """Every service of the process by name, the gateway over the others' apps last."""
    keys = keys_app.compose(platform, secrets)
    generation = generation_app.compose(platform, secrets, {"keys": _app(keys)})
    services = {
        "credits": credits_app.compose(platform, secrets, {"generation": _app(generation)}),
        "generation": generation,
        "keys": keys,
        "storage": storage_app.compose(platform, secrets),
    }
    upstreams = {name: _app(service) for name, service in services.items()}
    services["gateway"] = gateway_app.compose(platform, secrets, ready, upstreams)
    return services


def _app(service: Service) -> ASGIApp:
    assert service.app is not None, f"{service.name} serves HTTP"
    return service.app


def _simulator(settings: Settings, clock: Clock) -> ASGIApp:
    home = settings.home / "simulator"
    return simulator_app.create_app(read_settings(SimulatorSettings, home=home), clock)


def _guards(postgres: EmbeddedPostgres | None) -> Sequence[Service]:
    """Ends the process when the server under it has died: nothing can go on without it."""
    if postgres is None:
        return ()

    async def watch() -> None:
        while postgres.pid is not None:  # noqa: ASYNC110 - the system tells nobody of it
            await asyncio.sleep(POSTGRES_LOOK_EVERY_S)
        raise PostgresUnavailable("the embedded PostgreSQL has ended")

    return (Service(name="postgres", workers=(watch,)),)
