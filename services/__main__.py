"""python -m services: the whole product with one command, with embedded defaults.

python -m services                          migrate, start, serve in one process until Ctrl-C
python -m services --separate               the same, each service a process, over RabbitMQ
        [--only NAME,...] [--replicas NAME=N,...]
python -m services migrate                  bring every schema to its head
python -m services rebuild NAME [--verify]  make a read model anew, or only prove the heads
python -m services reencrypt                put all that is encrypted under the first master key
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

import structlog
import uvloop

from kernel import logs
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.local_rabbitmq import LocalRabbitMQ
from kernel.migrations import migrate
from kernel.postgres_cluster import PostgresUnavailable
from kernel.processes import watch_parent
from kernel.projections import History, rebuild, verify
from kernel.rabbitmq_node import RabbitMQUnavailable
from kernel.runtime import held, listening
from kernel.settings import Settings, read_settings, refuse_unknown
from kernel.sql import Database
from kernel.telemetry.observing import MEMORY, RABBITMQ, observed
from services import separate, together
from services.credits import app as credits_app
from services.credits.settings import CreditsSettings
from services.gateway.settings import GatewaySettings
from services.generation import app as generation_app
from services.generation.settings import GenerationSettings
from services.keys import app as keys_app
from services.keys.settings import KeysSettings
from services.reencrypting import reencrypt_all
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
REPLICAS_MAX = 32

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
            work = _serving(arguments, settings, ground)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(work())
    except (PostgresUnavailable, RabbitMQUnavailable, OSError) as error:
        sys.stderr.write(f"SmartSpec can't go on: {error}\n")
        return 1
    except KeyboardInterrupt:  # before it was ready; from then on the runtime hears of Ctrl-C
        return 128 + signal.SIGINT


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services", description="SmartSpec")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    parser.add_argument("--separate", action="store_true", help="each service a process")
    parser.add_argument("--only", type=_names, help="with --separate: these services, not all")
    parser.add_argument(
        "--replicas", type=_counts, default={}, help="with --separate: how many of which"
    )
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("migrate", help="bring every schema to its head")
    remake = verbs.add_parser("rebuild", help="make a service's read model anew; stop it first")
    remake.add_argument("service", choices=sorted(_HISTORIES))
    remake.add_argument("--verify", action="store_true", help="only prove heads against events")
    verbs.add_parser("reencrypt", help="put all that is encrypted under the first master key")
    arguments = parser.parse_args(argv)
    if (arguments.only or arguments.replicas) and not arguments.separate:
        parser.error("--only and --replicas need --separate")
    return arguments


def _names(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if not names <= set(separate.SERVICES):
        raise argparse.ArgumentTypeError(f"some of {', '.join(separate.SERVICES)}")
    return names


def _counts(text: str) -> dict[str, int]:
    """How many of which: `generation=2,credits=2`."""
    counts = {}
    for part in text.split(","):
        name, _, count = part.partition("=")
        known = name in separate.SERVICES and name not in separate.ALONE
        if not known or not count.isdigit() or not 1 <= int(count) <= REPLICAS_MAX:
            raise argparse.ArgumentTypeError(f"NAME=1..{REPLICAS_MAX}, as in generation=2")
        counts[name] = int(count)
    return counts


def _serving(
    arguments: argparse.Namespace, settings: Settings, ground: ExitStack
) -> Callable[[], Coroutine[Any, Any, int]]:
    """What is to be done, on servers that are started here and end with `ground`."""
    edge: socket | None = None
    serves = arguments.verb is None
    if serves:
        ground.enter_context(held(settings.home))
    if serves and not arguments.separate:
        edge = ground.enter_context(listening(settings.host, settings.port))
    postgres: EmbeddedPostgres | None = None
    dsn = settings.database_url
    if dsn is None:
        postgres = EmbeddedPostgres(settings.home / "postgres")
        ground.callback(postgres.stop)
        # Keys are changed while the product serves, on a server that it has started.
        serving = postgres.running() if arguments.verb == "reencrypt" else None
        dsn = serving or postgres.start()
    match arguments.verb:
        case "migrate":
            return partial(_migrate, dsn)
        case "rebuild":
            return partial(_rebuild, dsn, arguments.service, only_verify=arguments.verify)
        case "reencrypt":
            return partial(reencrypt_all, dsn, settings, sorted(_HISTORIES))
    if edge is not None:
        return partial(_together, settings, dsn, postgres, edge)
    broker = settings.rabbitmq_url
    if broker is None:
        rabbitmq = LocalRabbitMQ(settings.home / "rabbitmq")
        ground.callback(rabbitmq.stop)
        broker = rabbitmq.start()
    place = separate.Place(settings, dsn, broker)
    return partial(
        separate.serve,
        place,
        arguments.only or separate.SERVICES,
        arguments.replicas,
        migration_folders(),
    )


async def _together(
    settings: Settings, dsn: str, postgres: EmbeddedPostgres | None, edge: socket
) -> int:
    serving = together.serve(settings, dsn, postgres, edge, migration_folders())
    return await observed(
        serving, settings.otlp_endpoint, RABBITMQ if settings.rabbitmq_url else MEMORY
    )


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


if __name__ == "__main__":
    sys.exit(main())
