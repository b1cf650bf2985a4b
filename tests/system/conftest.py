"""One product for each way to run it, shared by the tests that do not end it.

memory     one process on its embedded PostgreSQL, the bus in memory
rabbitmq   one process on a PostgreSQL, a RabbitMQ and a Redis that were there
separate   a process for each service, two for generation and for credits, on the same servers
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.clock import random_token
from kernel.runtime import quiet_port
from tests import rabbitmq, redis_server
from tests.system.product import Product, User, fresh_database, new_user, running

MODE = ("separate",)
"""How most tests run: as many processes, over real servers."""
BOTH_MODES = pytest.mark.parametrize("product", ["memory", "separate"], indirect=True)
"""As one process and as many: for money, races, poison, streams, and what reaches logs."""
EVERY_MODE = pytest.mark.parametrize("product", ["memory", "rabbitmq", "separate"], indirect=True)
"""For the main job."""
SEPARATE = ("--separate", "--replicas", "generation=2,credits=2")
CONNECTIONS_MAX = "3"
"""Of each process: the workers of a test run share the server."""


@contextlib.contextmanager
def prepared(mode: str) -> Iterator[Product]:
    """A product that is not started, on a home, a database and queues of its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smartspec-system-")))
        folder.chmod(0o711)  # the embedded server runs as another user when we are root
        settings: dict[str, str] = {}
        if mode != "memory":
            settings = stack.enter_context(servers())
        arguments = SEPARATE if mode == "separate" else ()
        settings["METRICS_PORT"] = str(quiet_port(int.from_bytes(random_token(2))))
        product = Product(folder / "home", settings, arguments)
        stack.callback(product.kill)
        yield product


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Settings for a database, queues and limits on the servers of this machine."""
    postgres, broker = os.environ.get("TEST_POSTGRES_LOCAL"), os.environ.get(rabbitmq.VARIABLE)
    if postgres is None or broker is None:
        pytest.skip("no local PostgreSQL, or no RabbitMQ, on this machine")
    prefix = rabbitmq.new_prefix()
    with fresh_database(postgres.split()[0]) as dsn:
        settings = {
            "DATABASE_URL": dsn,
            "RABBITMQ_URL": broker,
            "SMARTSPEC_QUEUE_PREFIX": prefix,
            "SMARTSPEC_DATABASE_CONNECTIONS_MAX": CONNECTIONS_MAX,
        }
        redis = os.environ.get(redis_server.VARIABLE)
        yield settings if redis is None else {**settings, "REDIS_URL": redis}
    asyncio.run(rabbitmq.remove(broker, prefix))
    if redis is not None:
        asyncio.run(redis_server.remove(redis, prefix))


@pytest.fixture(scope="session", params=MODE)
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """Started once for all tests of a worker; do not end it."""
    with prepared(request.param) as product, running(product):
        yield product


@pytest.fixture(params=["memory", "separate"])
def own_product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """For one test alone, and not started."""
    with prepared(request.param) as product:
        yield product


@pytest.fixture
def embedded_product() -> Iterator[Product]:
    """As `own_product`, where it makes no difference how it runs."""
    with prepared("memory") as product:
        yield product


@pytest.fixture
def user(product: Product) -> Iterator[User]:
    with new_user(product) as user:
        yield user
