"""Where a storm takes place: servers of its own behind fault proxies, services as processes.

Whoever is killed is started anew: the services by their supervisor, the servers by who killed them.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kernel.bus.topology import Topology
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.local_rabbitmq import LocalRabbitMQ
from kernel.migrations import migrate
from kernel.runtime import quiet_port
from kernel.settings import Settings, read_settings
from kernel.supervisor import Supervisor
from services import separate
from services.__main__ import migration_folders
from tests.campaign.crash_points import Armed
from tests.campaign.proxy import FaultProxy
from tests.rates import PLENTY

REPLICAS: Final[Mapping[str, int]] = {"generation": 2, "credits": 2}
READY_TIMEOUT_S: Final = 120.0
END_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class World:
    """Proxies stand between the services and their servers; we speak to the servers directly."""

    home: Path
    url: str
    postgres: EmbeddedPostgres
    broker: LocalRabbitMQ
    dsn: str
    broker_url: str
    to_postgres: FaultProxy
    to_broker: FaultProxy
    supervisor: Supervisor
    armed: Armed

    @property
    def topology(self) -> Topology:
        return Topology()

    @property
    def servers_live(self) -> bool:
        return self.postgres.pid is not None and self.broker.pid is not None

    def words(self) -> str:
        """All that the services said."""
        return (self.home / "said").read_text(errors="replace")

    @property
    def journal(self) -> Path:
        return self.home / "simulator" / "journal.jsonl"

    def absent(self, service: str) -> Path:
        """While this file is there, the service does not begin."""
        return self.home / f"absent-{service}"

    def heal(self) -> None:
        """No fault goes on: servers run, connections are whole, every service may begin."""
        for proxy in (self.to_postgres, self.to_broker):
            proxy.heal()
        self.postgres.start()
        self.broker.start()
        for service in separate.SERVICES:
            self.absent(service).unlink(missing_ok=True)


@asynccontextmanager
async def living_world(
    start: int, settings: Mapping[str, str], mutant: str | None
) -> AsyncIterator[World]:
    """A world whose services are ready. From the main thread: it starts PostgreSQL."""
    with ExitStack() as stack:
        home = stack.enter_context(_home())
        port = quiet_port(start)
        postgres = EmbeddedPostgres(home / "postgres", choose_port=lambda: port)
        stack.callback(postgres.stop)
        broker = LocalRabbitMQ(home / "rabbitmq", choose_port=lambda: quiet_port(start + 50))
        stack.callback(broker.stop)
        dsn, broker_url = postgres.start(), await asyncio.to_thread(broker.start)
        to_postgres = stack.enter_context(_proxy(dsn))
        to_broker = stack.enter_context(_proxy(broker_url))
        await migrate(dsn, migration_folders())
        place = separate.Place(
            read_settings(Settings, SMARTSPEC_HOME=home, PORT=quiet_port(start + 100)),
            _by_way_of(to_postgres, dsn),
            _by_way_of(to_broker, broker_url),
        )
        supervisor = Supervisor(
            [
                replace(
                    program,
                    command=[
                        sys.executable,
                        "-m",
                        "tests.campaign.program",
                        _service(program.name),
                    ],
                    environment={
                        **program.environment,
                        "RATE_LIMITS": PLENTY,
                        **settings,
                        "CAMPAIGN_FOLDER": str(home),
                        "CAMPAIGN_MUTANT": mutant or "",
                    },
                )
                for program in separate.programs(place, separate.SERVICES, REPLICAS)
            ],
            output=stack.enter_context((home / "said").open("ab")),
        )
        ready = asyncio.Event()

        async def on_ready() -> None:
            ready.set()

        running = asyncio.create_task(supervisor.run(on_ready))
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await ready.wait()
            yield World(
                home=home,
                url=f"http://127.0.0.1:{place.settings.port}",
                postgres=postgres,
                broker=broker,
                dsn=dsn,
                broker_url=broker_url,
                to_postgres=to_postgres,
                to_broker=to_broker,
                supervisor=supervisor,
                armed=Armed(home),
            )
        finally:
            supervisor.stop()
            async with asyncio.timeout(END_TIMEOUT_S):
                await running


@contextmanager
def _home() -> Iterator[Path]:
    """A folder that the servers' unprivileged users can enter when we are root."""
    with tempfile.TemporaryDirectory(prefix="smartspec-storm-") as folder:
        home = Path(folder).resolve()
        home.chmod(0o711)
        yield home


def _proxy(address: str) -> FaultProxy:
    port = urlsplit(address).port
    assert port is not None, "our own servers say their port"
    return FaultProxy("127.0.0.1", port)


def _by_way_of(proxy: FaultProxy, address: str) -> str:
    return address.replace(f":{urlsplit(address).port}", f":{proxy.port}")


def _service(program: str) -> str:
    """`generation` of `generation-2`."""
    return program.partition("-")[0]
