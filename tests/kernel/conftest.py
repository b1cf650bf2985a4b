"""A database on each server that the suite's tests share; when one has changed its schema, the next
has a fresh one."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.reused_database import Kept


@pytest.fixture(scope="package")
def kept_databases() -> Iterator[dict[str, Kept]]:
    """By server; the first test that asks for it makes it."""
    kept: dict[str, Kept] = {}
    yield kept
    for database in kept.values():
        asyncio.run(database.drop())


@pytest.fixture
async def database_dsn(postgres_server: tuple[str, str], kept_databases: dict[str, Kept]) -> str:
    """The DSN of a migrated database, as a fresh one would be."""
    server, template = postgres_server
    kept = kept_databases.get(server)
    if kept is not None and not await kept.restored():
        await kept_databases.pop(server).drop()
        kept = None
    if kept is None:
        kept = kept_databases[server] = await Kept.make(server, template)
    return kept.dsn
