"""python -m services: everything in one process, with embedded defaults.

python -m services                          migrate, start, serve until Ctrl-C
python -m services migrate                  bring every schema to its head
python -m services rebuild NAME [--verify]  make a read model anew, or only prove the heads
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from socket import socket
from typing import Any

import structlog
import uvloop
from starlette.types import ASGIApp

from kernel import logs
from kernel.bus import MemoryBus
from kernel.clock import SystemClock
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.encryption import Encryption
from kernel.http import InternalTokens
from kernel.http.access_tokens import AccessTokens
from kernel.links import MediaLinks
from kernel.migrations import migrate
from kernel.postgres_cluster import PostgresUnavailable
from kernel.processes import watch_parent
from kernel.projections import History, rebuild, verify
from kernel.runtime import Endpoint, Runtime, bind, held, listening
from kernel.secrets import Secrets, secrets_of
from kernel.service import Platform, Service
from kernel.settings import Settings, WrongSettings, read_settings, refuse_unknown
from kernel.sql import Database
from kernel.telemetry.observing import observed
from services.credits import app as credits_app
from services.credits.settings import CreditsSettings
from services.gateway import app as gateway_app
from services.gateway.settings import GatewaySettings
from services.generation import app as generation_app
from services.generation.settings import GenerationSettings
from services.keys import app as keys_app
from services.keys.settings import KeysSettings
from services.simulator import app as simulator_app
from services.simulator.settings import SimulatorSettings
from services.storage import app as storage_app
from services.storage.settings import StorageSettings

SETTINGS = (
    CreditsSettings,
    GatewaySettings,
    GenerationSettings,
    KeysSettings,
    SimulatorSettings,
    StorageSettings,
)
ADMIN_EMAIL = "admin@smartspec.local"
POSTGRES_LOOK_EVERY_S = 0.5

_HERE = Path(__file__).parent
_log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it did what was asked, 1 when it could not."""
    arguments = _arguments(argv)
    settings = read_settings(Settings)
    refuse_unknown(SETTINGS, os.environ)
    logs.configure(settings.log_level)
    if arguments.parent is not None:
        watch_parent(_end_this_process, parent_pid=arguments.parent)
    try:
        with ExitStack() as ground:
            edge = None
            if arguments.verb is None:
                ground.enter_context(held(settings.home))
                edge = ground.enter_context(listening(settings.host, settings.port))
            postgres: EmbeddedPostgres | None = None
            dsn = settings.database_url
            if dsn is None:
                postgres = EmbeddedPostgres(settings.home / "postgres")
                ground.callback(postgres.stop)
                dsn = postgres.start()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_verb(arguments, settings, dsn, postgres, edge))
    except (PostgresUnavailable, OSError) as error:
        sys.stderr.write(f"SmartSpec can't go on: {error}\n")
        return 1
    except KeyboardInterrupt:  # before it was ready; from then on the runtime hears of Ctrl-C
        return 128 + signal.SIGINT


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services", description="SmartSpec")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("migrate", help="bring every schema to its head")
    remake = verbs.add_parser("rebuild", help="make a service's read model anew; stop it first")
    remake.add_argument("service", choices=sorted(_HISTORIES))
    remake.add_argument("--verify", action="store_true", help="only prove heads against events")
    return parser.parse_args(argv)


def _verb(
    arguments: argparse.Namespace,
    settings: Settings,
    dsn: str,
    postgres: EmbeddedPostgres | None,
    edge: socket | None,
) -> Coroutine[Any, Any, int]:
    match arguments.verb:
        case "migrate":
            return _migrate(dsn)
        case "rebuild":
            return _rebuild(dsn, arguments.service, only_verify=arguments.verify)
        case _:
            assert edge is not None, "what serves listens"
            return observed(_serve(settings, dsn, postgres, edge), settings.otlp_endpoint)


def _end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


_HISTORIES: Mapping[str, History] = {
    history.schema: history
    for history in (
        credits_app.HISTORY,
        generation_app.HISTORY,
        keys_app.HISTORY,
        storage_app.HISTORY,
    )
}


def migration_folders() -> dict[str, Path]:
    """Each service's migrations, by schema."""
    return {name: _HERE / name / "migrations" for name in sorted(_HISTORIES)}


async def _migrate(dsn: str) -> int:
    for schema in await migrate(dsn, migration_folders()):
        _log.info("migrated", schema=schema)
    return 0


async def _rebuild(dsn: str, service: str, *, only_verify: bool) -> int:
    history = _HISTORIES[service]
    database = await Database.connect(dsn)
    try:
        faults = await verify(database, service, history.aggregates)
        for fault in faults:
            sys.stdout.write(f"{fault}\n")
        if not faults and not only_verify:
            count = await rebuild(database, service, history.read_model, history.aggregates)
            sys.stdout.write(f"{service}: read model made anew from {count} events\n")
    finally:
        await database.close()
    return 1 if faults else 0


async def _serve(
    settings: Settings, dsn: str, postgres: EmbeddedPostgres | None, edge: socket
) -> int:
    await migrate(dsn, migration_folders())
    secrets = secrets_of(settings)
    vendors = _vendors(settings.home) if _is_sandbox(settings) else None
    address = f"http://{settings.host}:{edge.getsockname()[1]}"
    database = await Database.connect(dsn)
    try:
        platform = _platform(
            secrets, database, settings.public_base_url or address, sole_owner=postgres is not None
        )
        bus = platform.bus
        services = _services(platform, secrets, vendors, lambda: runtime.ready)
        endpoints = [Endpoint("gateway", _app(services["gateway"]), edge)]
        if vendors is not None:
            endpoints.append(Endpoint("simulator", _simulator(settings, platform), vendors))
        guarded = [*services.values(), *_guards(postgres)]
        runtime = Runtime(guarded, bus, endpoints)

        async def on_ready() -> None:
            if vendors is not None:
                await keys_app.ensure_admin(
                    services["keys"], platform, ADMIN_EMAIL, secrets.admin_password
                )
            _welcome(address, secrets if vendors is not None else None)

        return 0 if await runtime.run(on_ready) else 1
    finally:
        await database.close()


def _vendors(home: Path) -> socket:
    """A free loopback port for the simulator, the same at each start where it can be: what it made
    before is fetched from the address that it told then."""
    kept = home / "simulator" / "port"
    try:
        return bind("127.0.0.1", int(kept.read_text()))
    except (OSError, ValueError, OverflowError):
        vendors = bind("127.0.0.1", 0)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(vendors.getsockname()[1]))
    return vendors


def _is_sandbox(settings: Settings) -> bool:
    """On under this command unless it is said otherwise; never in production."""
    if settings.in_production and settings.sandbox:
        raise WrongSettings("SmartSpec can't start: production refuses SMARTSPEC_SANDBOX")
    return not settings.in_production if settings.sandbox is None else settings.sandbox


def _platform(
    secrets: Secrets, database: Database, public_base_url: str, *, sole_owner: bool
) -> Platform:
    clock = SystemClock()
    encryption = Encryption(secrets.master_keys)
    return Platform(
        database=database,
        bus=MemoryBus(),
        clock=clock,
        encryption=encryption,
        internal_tokens=InternalTokens(encryption.derived_secret("internal"), clock),
        links=MediaLinks(encryption.derived_secret("links"), public_base_url),
        public_base_url=public_base_url,
        sole_owner=sole_owner,
    )


def _services(
    platform: Platform, secrets: Secrets, vendors: socket | None, ready: Callable[[], bool]
) -> dict[str, Service]:
    """Every service of the process by name, the gateway over the others' apps last."""
    keys_settings = read_settings(KeysSettings)
    access_tokens = AccessTokens(
        secrets.jwt_secret,
        keys_settings.jwt_algorithm,
        timedelta(minutes=keys_settings.jwt_expire_minutes),
        platform.clock,
    )
    vendors_url = None if vendors is None else f"http://127.0.0.1:{vendors.getsockname()[1]}"
    generation_settings = read_settings(GenerationSettings)
    providers = generation_app.configured_providers(generation_settings, vendors_url)
    services = {
        "credits": credits_app.create_service(read_settings(CreditsSettings), platform),
        "generation": generation_app.create_service(generation_settings, platform, providers),
        "keys": keys_app.create_service(keys_settings, platform, access_tokens),
        "storage": storage_app.create_service(
            read_settings(StorageSettings),
            platform,
            allowed_origins=frozenset() if vendors_url is None else frozenset({vendors_url}),
        ),
    }
    upstreams = {name: _app(service) for name, service in services.items()}
    services["gateway"] = gateway_app.create_service(
        read_settings(GatewaySettings), platform, access_tokens, upstreams, ready
    )
    return services


def _app(service: Service) -> ASGIApp:
    assert service.app is not None, f"{service.name} serves HTTP"
    return service.app


def _simulator(settings: Settings, platform: Platform) -> ASGIApp:
    home = settings.home / "simulator"
    return simulator_app.create_app(read_settings(SimulatorSettings, home=home), platform.clock)


def _guards(postgres: EmbeddedPostgres | None) -> Sequence[Service]:
    """Ends the process when the server under it has died: nothing can go on without it."""
    if postgres is None:
        return ()

    async def watch() -> None:
        while postgres.pid is not None:  # noqa: ASYNC110 - the system tells nobody of it
            await asyncio.sleep(POSTGRES_LOOK_EVERY_S)
        raise PostgresUnavailable("the embedded PostgreSQL has ended")

    return (Service(name="postgres", workers=(watch,)),)


def _welcome(address: str, sandbox: Secrets | None) -> None:
    lines = ["", f"SmartSpec is ready at {address}  (routes: {address}/docs)"]
    if sandbox is not None:
        lines += [
            "Sandbox: a simulator makes the media, marked as such. Nothing is asked of a vendor.",
            f"Sign in as the admin: {ADMIN_EMAIL}  password: {sandbox.admin_password}",
            "",
            f"  curl -s {address}/auth/login -H 'Content-Type: application/json' \\",
            f"""    -d '{{"email": "{ADMIN_EMAIL}", "password": "{sandbox.admin_password}"}}'""",
        ]
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
