"""One product for each kind of database, shared by the tests that do not end it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import Product, User, fresh_database, new_user, running

KINDS = ("embedded", "local")


@contextlib.contextmanager
def prepared(kind: str) -> Iterator[Product]:
    """A product that is not started, on a home and a database of its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smartspec-system-")))
        folder.chmod(0o711)  # the embedded server runs as another user when we are root
        settings: dict[str, str] = {}
        if kind == "local":
            server = os.environ.get("TEST_POSTGRES_LOCAL")
            if server is None:
                pytest.skip("no local PostgreSQL on this machine")
            settings["DATABASE_URL"] = stack.enter_context(fresh_database(server.split()[0]))
        product = Product(folder / "home", settings)
        stack.callback(product.kill)
        yield product


@pytest.fixture(scope="session", params=KINDS)
def product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """Started once for all tests of a worker; do not end it."""
    with prepared(request.param) as product, running(product):
        yield product


@pytest.fixture(params=KINDS)
def own_product(request: pytest.FixtureRequest) -> Iterator[Product]:
    """For one test alone, and not started."""
    with prepared(request.param) as product:
        yield product


@pytest.fixture
def embedded_product() -> Iterator[Product]:
    """As `own_product`, where the kind of database makes no difference."""
    with prepared("embedded") as product:
        yield product


@pytest.fixture
def user(product: Product) -> Iterator[User]:
    with new_user(product) as user:
        yield user
