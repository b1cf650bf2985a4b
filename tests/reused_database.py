"""One database for a module's tests, as it was before each: a fresh one takes a second, this none.

A suite takes it by naming both fixtures in its conftest. Not for tests that change the schema.

It lies on one server: the machine's, which is of the oldest version that we support, or else the
embedded one, which is of the newest. What services ask of the other is asked by the kernel's tests,
which run on every server, and by the system tests, whose products do.
"""

import asyncio
import os
from collections.abc import Iterator

import asyncpg
import pytest

from kernel.clock import new_id
from tests.conftest import _drop, _named, _variable

_TABLES = """
        SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'reused')"""
# What migrations wrote is kept aside, in tables named by the number of the one that it is of.
KEEP = f"""
CREATE SCHEMA reused;
DO $$
DECLARE found regclass; has_rows boolean;
BEGIN
    FOR found IN {_TABLES}
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', found) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('CREATE TABLE reused.%I AS TABLE %s', found::oid::text, found);
        END IF;
    END LOOP;
END $$"""
# `replica` puts the triggers that keep history append-only to sleep, for this connection alone.
RESTORE = f"""
SET session_replication_role = replica;
DO $$
DECLARE found regclass;
BEGIN
    FOR found IN {_TABLES}
    LOOP
        EXECUTE format('DELETE FROM %s', found);
        IF to_regclass(format('reused.%I', found::oid::text)) IS NOT NULL THEN
            EXECUTE format('INSERT INTO %s TABLE reused.%I', found, found::oid::text);
        END IF;
    END LOOP;
END $$"""


@pytest.fixture(scope="module")
def module_dsn() -> Iterator[str]:
    """The DSN of a migrated database of this module and worker."""
    found = os.environ.get(_variable("local")) or os.environ[_variable("embedded")]
    dsn, template = found.split()
    name = f"smartspec_test_{new_id().hex}"
    asyncio.run(_run(dsn, f"CREATE DATABASE {name} TEMPLATE {template}"))
    asyncio.run(_run(_named(dsn, name), KEEP))
    yield _named(dsn, name)
    asyncio.run(_drop(dsn, name))


@pytest.fixture
async def database_dsn(module_dsn: str) -> str:
    """The same, as the migrations left it."""
    await _run(module_dsn, RESTORE)
    return module_dsn


async def _run(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()
