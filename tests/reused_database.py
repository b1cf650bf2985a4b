"""One database for a module's tests, emptied before each: a fresh one takes a second, this none.

A suite takes it by naming both fixtures in its conftest. Not for tests that change the schema.
"""

import asyncio
import os
from collections.abc import Iterator

import asyncpg
import pytest

from kernel.clock import new_id
from tests.conftest import SERVERS, _drop, _named, _variable

# `replica` puts the triggers that keep history append-only to sleep, for this connection alone.
EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE found regclass;
BEGIN
    FOR found IN
        SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    LOOP
        EXECUTE format('DELETE FROM %s', found);
    END LOOP;
END $$"""


@pytest.fixture(scope="module", params=SERVERS)
def module_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a migrated database of this module and worker."""
    found = os.environ.get(_variable(request.param))
    if found is None:
        pytest.skip(f"no {request.param} PostgreSQL on this machine")
    dsn, template = found.split()
    name = f"smartspec_test_{new_id().hex}"
    asyncio.run(_run(dsn, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield _named(dsn, name)
    asyncio.run(_drop(dsn, name))


@pytest.fixture
async def database_dsn(module_dsn: str) -> str:
    """The same, empty."""
    await _run(module_dsn, EMPTY)
    return module_dsn


async def _run(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()
