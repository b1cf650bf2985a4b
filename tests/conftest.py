"""Servers for the run (one embedded cluster, and each real one found), a fresh database per test.

The controlling process starts the cluster and makes one migrated template on every server; a
test's database is a copy of it.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from kernel.bus import MemoryBus
from kernel.clock import new_id
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.encryption import Encryption
from kernel.http import InternalTokens
from kernel.links import MediaLinks
from kernel.migrations import migrate
from kernel.service import Platform
from kernel.sql import Database
from kernel.testing import FakeClock
from tests import rabbitmq, redis_server, s3_server
from tests.ordering import pytest_collection_modifyitems
from tests.rabbitmq import queue_prefix, rabbitmq_url
from tests.redis_server import own_redis, redis_prefix, redis_url

__all__ = [
    "own_redis",
    "pytest_collection_modifyitems",
    "queue_prefix",
    "rabbitmq_url",
    "redis_prefix",
    "redis_url",
]

ROOT = Path(__file__).parents[1]
SERVERS = ("embedded", "local")
LOCAL_DSN = "postgresql://postgres@127.0.0.1:5432/test"
MASTER_KEY = "a master key of tests, and of nothing else"
BASE_URL = "http://smartspec.test"

_embedded: list[tuple[EmbeddedPostgres, Path]] = []


def migration_folders() -> dict[str, Path]:
    """Every service's migrations by schema."""
    folders = sorted(ROOT.glob("services/*/migrations"))
    return {folder.parent.name: folder for folder in folders}


def _variable(server: str) -> str:
    return f"TEST_POSTGRES_{server.upper()}"


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    home = Path(tempfile.mkdtemp(prefix="smartspec-tests-"))
    home.chmod(0o711)  # the server runs as another user when the tests run as root
    cluster = EmbeddedPostgres(home / "postgres", options={"fsync": "off"})
    _embedded.append((cluster, home))
    dsns = {"embedded": cluster.start()}
    local = os.environ.get("TEST_DATABASE_URL", LOCAL_DSN)
    if asyncio.run(_reachable(local)):
        dsns["local"] = local
    elif os.environ.get("REQUIRE_SERVICES") == "1":
        raise pytest.UsageError(f"REQUIRE_SERVICES=1, but no PostgreSQL answers at {local}")
    broker = os.environ.get("TEST_RABBITMQ_URL", rabbitmq.LOCAL_URL)
    if asyncio.run(rabbitmq.answers(broker)):
        os.environ[rabbitmq.VARIABLE] = broker
    elif os.environ.get("REQUIRE_SERVICES") == "1":
        raise pytest.UsageError("REQUIRE_SERVICES=1, but no RabbitMQ answers; TEST_RABBITMQ_URL")
    redis = os.environ.get("TEST_REDIS_URL", redis_server.LOCAL_URL)
    if asyncio.run(redis_server.answers(redis)):
        os.environ[redis_server.VARIABLE] = redis
    elif os.environ.get("REQUIRE_SERVICES") == "1":
        raise pytest.UsageError("REQUIRE_SERVICES=1, but no Redis answers; TEST_REDIS_URL")
    template = f"smartspec_template_{new_id().hex}"
    for server, dsn in dsns.items():
        asyncio.run(_make_template(dsn, template))
        os.environ[_variable(server)] = f"{dsn} {template}"


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    local = os.environ.get(_variable("local"))
    if local:
        dsn, template = local.split()
        asyncio.run(_drop(dsn, template))
    for cluster, home in _embedded:
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for server in SERVERS:
        found = "tested" if os.environ.get(_variable(server)) else "not found"
        terminalreporter.write_line(f"PostgreSQL {server}: {found}")
    found = "tested" if os.environ.get(rabbitmq.VARIABLE) else "not found"
    terminalreporter.write_line(f"RabbitMQ: {found}")
    found = "tested" if os.environ.get(redis_server.VARIABLE) else "not found"
    terminalreporter.write_line(f"Redis: {found}")
    found = "tested" if s3_server.real_bucket() else "not found, ministack tested"
    terminalreporter.write_line(f"S3: {found}")


async def _reachable(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=3)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


async def _make_template(dsn: str, template: str) -> None:
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f"CREATE DATABASE {template}")
    finally:
        await admin.close()
    await migrate(_named(dsn, template), migration_folders())


async def _drop(dsn: str, name: str) -> None:
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await admin.close()


def _named(dsn: str, name: str) -> str:
    return dsn.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture(params=SERVERS)
def postgres_server(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A server's DSN and the name of its template."""
    found = os.environ.get(_variable(request.param))
    if found is None:
        pytest.skip(f"no {request.param} PostgreSQL on this machine")
    dsn, template = found.split()
    return dsn, template


@pytest.fixture
async def database_dsn(postgres_server: tuple[str, str]) -> AsyncIterator[str]:
    """The DSN of a fresh, migrated database."""
    dsn, template = postgres_server
    name = f"smartspec_test_{new_id().hex}"
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await admin.close()
    yield _named(dsn, name)
    await _drop(dsn, name)


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    database = await Database.connect(database_dsn)
    yield database
    await database.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def platform(database: Database, clock: FakeClock) -> Platform:
    encryption = Encryption([MASTER_KEY])
    return Platform(
        database=database,
        bus=MemoryBus(),
        clock=clock,
        encryption=encryption,
        internal_tokens=InternalTokens(encryption.derived_secret("internal"), clock),
        links=MediaLinks(encryption.derived_secret("links"), BASE_URL),
        public_base_url=BASE_URL,
        sole_owner=True,
    )
