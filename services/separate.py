"""Each service as a process of its own, kept running on this machine, over RabbitMQ.

Nothing of a service is imported here: a process is what its container would be.
"""

import hashlib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from kernel.migrations import migrate
from kernel.runtime import QUIET_PORTS, quiet_port
from kernel.secrets import secrets_of
from kernel.settings import Settings
from kernel.sql import until_there
from kernel.supervisor import Program, Supervisor
from services import sandbox

GATEWAY: Final = "gateway"
GENERATION: Final = "generation"
SIMULATOR: Final = "simulator"
INNER: Final = ("keys", "credits", GENERATION, "storage")
SERVICES: Final = (GATEWAY, *INNER, SIMULATOR)
ALONE: Final = (GATEWAY, SIMULATOR)
"""One has the address that clients know, the other a memory of its own."""
LOOPBACK: Final = "127.0.0.1"
RANKS: Final = {GATEWAY: 0, SIMULATOR: 2}
INNER_RANK: Final = 1
METRICS_PORT: Final = "METRICS_PORT"
ASKS: Final = {GENERATION: ("KEYS_URL",), "credits": ("GENERATION_URL",)}
"""Whom a service asks for itself: generation asks keys for users' own keys of vendors, and credits
asks generation what became of tasks."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    """Where the processes run: their settings, and the servers that all of them share."""

    settings: Settings
    dsn: str
    rabbitmq_url: str

    def address(self, port: int) -> str:
        """What clients know, when the gateway listens on `port`."""
        return self.settings.public_base_url or f"http://{self.settings.host}:{port}"


async def serve(
    place: Place,
    only: Collection[str],
    replicas: Mapping[str, int],
    migrations: Mapping[str, Path],
) -> int:
    """Until a signal; the exit status."""
    settings = place.settings
    in_sandbox = sandbox.is_on(settings)
    secrets = secrets_of(settings)  # made before two processes look for them
    await until_there(lambda: migrate(place.dsn, migrations))
    wanted = set(only) if in_sandbox else set(only) - {SIMULATOR}
    started = programs(place, wanted, replicas)
    supervisor = Supervisor(started)
    ports = {program.name: program.port for program in started}
    address = place.address(ports.get(GATEWAY, settings.port))

    async def on_ready() -> None:
        for program in started:
            _log.info("metrics", program=program.name, url=_metrics_of(program))
        sandbox.welcome(address, secrets if in_sandbox else None)

    return 0 if await supervisor.run(on_ready) else 1


def programs(place: Place, wanted: Collection[str], replicas: Mapping[str, int]) -> list[Program]:
    """A process for each replica of each service."""
    ports = _ports(place, {name: replicas.get(name, 1) for name in SERVICES if name in wanted})
    address = place.address(ports[GATEWAY][0] if GATEWAY in ports else place.settings.port)
    return _programs(place, ports, address)


def _metrics_of(program: Program) -> str:
    """The gateway's own address is for clients."""
    port = program.environment.get(METRICS_PORT, program.port)
    return f"http://{LOOPBACK}:{port}/metrics"


def _ports(place: Place, wanted: Mapping[str, int]) -> dict[str, list[int]]:
    """The gateway's is told; the simulator's is the same at each start, because what it made
    before is fetched from there; the others are found by the home's name, so mostly are as well.
    One more is for the gateway's metrics."""
    settings = place.settings
    home = str(settings.home.resolve())
    start = int.from_bytes(hashlib.sha256(home.encode()).digest()[:4])
    ports: dict[str, list[int]] = {}
    for name, count in wanted.items():
        if name == GATEWAY and settings.port != 0:
            ports[name] = [settings.port]
        elif name == SIMULATOR:
            with sandbox.vendors_socket(settings.home) as vendors:
                ports[name] = [int(vendors.getsockname()[1])]
        else:
            ports[name] = []
            for _ in range(count):
                ports[name].append(quiet_port(start))
                start = ports[name][-1] - QUIET_PORTS.start + 1
    ports[METRICS_PORT] = [settings.metrics_port or quiet_port(start)]
    return ports


def _programs(place: Place, ports: Mapping[str, list[int]], address: str) -> list[Program]:
    settings = place.settings
    shared = {
        "DATABASE_URL": place.dsn,
        "RABBITMQ_URL": place.rabbitmq_url,
        "SMARTSPEC_HOME": str(settings.home.resolve()),
    }
    if SIMULATOR in ports:
        shared["SIMULATOR_URL"] = f"http://{LOOPBACK}:{ports[SIMULATOR][0]}"
    upstreams = {
        f"{name.upper()}_URL": ",".join(f"http://{LOOPBACK}:{port}" for port in ports[name])
        for name in INNER
        if name in ports
    }
    inner = {"HOST": LOOPBACK, "PUBLIC_BASE_URL": address}
    own = {
        GATEWAY: {"HOST": settings.host, METRICS_PORT: str(ports[METRICS_PORT][0]), **upstreams},
        **{
            name: {**inner, **{url: upstreams[url] for url in asked if url in upstreams}}
            for name, asked in ASKS.items()
        },
        SIMULATOR: {"SIMULATOR_HOME": str((settings.home / SIMULATOR).resolve())},
    }
    return [
        Program(
            name=f"{name}-{nth}" if len(ports[name]) > 1 else name,
            command=[sys.executable, "-m", f"services.{name}"],
            environment={
                **shared,
                **own.get(name, inner),
                ("SIMULATOR_PORT" if name == SIMULATOR else "PORT"): str(port),
            },
            port=port,
            rank=RANKS.get(name, INNER_RANK),
        )
        for name in SERVICES
        if name in ports
        for nth, port in enumerate(ports[name], 1)
    ]
