"""One database for a suite's tests, as it was before each: a fresh one takes a second, this none.

A suite takes it by naming `suite_dsn` and `database_dsn` in its conftest, and changes no schema but
by making read models, which stay. It lies on one server: the machine's, which is of the oldest
version that we support, or else the embedded one, which is of the newest. What services ask of the
other is asked by the kernel's tests, which run on every server, and by the system tests, whose
products do.

`Kept` is for suites that run on every server, and may add schemas and partitions. Where a test has
changed what was there, the next one gets a fresh database.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

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
END $$;
CREATE TABLE reused.sequences AS
    SELECT seqrelid, coalesce(pg_sequence_last_value(seqrelid), seqstart) AS value,
        pg_sequence_last_value(seqrelid) IS NOT NULL AS is_called
    FROM pg_sequence"""
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
END $$;
SELECT setval(seqrelid, value, is_called) FROM reused.sequences
WHERE pg_sequence_last_value(seqrelid) IS DISTINCT FROM CASE WHEN is_called THEN value END"""


# The shape of what is `Kept` is what it had when it was made.
REMEMBER = """
CREATE TABLE reused.relations AS SELECT oid FROM pg_class;
CREATE TABLE reused.schemas AS SELECT oid FROM pg_namespace"""
# Of what tests add, schemas and partitions go; anything else makes the shape another one.
REMOVE = """
DO $$
DECLARE added text;
BEGIN
    FOR added IN SELECT c.oid::regclass FROM pg_class c
        WHERE c.relispartition AND c.relkind = 'r'
            AND c.oid NOT IN (SELECT oid FROM reused.relations)
    LOOP
        EXECUTE format('DROP TABLE %s', added);
    END LOOP;
    FOR added IN SELECT quote_ident(nspname) FROM pg_namespace
        WHERE nspname !~ '^pg_' AND oid NOT IN (SELECT oid FROM reused.schemas)
    LOOP
        EXECUTE format('DROP SCHEMA %s CASCADE', added);
    END LOOP;
END $$"""
# Schemas, tables, columns, constraints, triggers, functions and sequences, as far as a test could
# change them.
SHAPE = """
    SELECT md5(string_agg(part, ';' ORDER BY part)) FROM (
        SELECT concat_ws(',', n.oid, n.nspname, n.nspacl) AS part FROM pg_namespace n
            WHERE n.nspname !~ '^pg_'
        UNION ALL
        SELECT concat_ws(',', c.oid, c.relname, c.relowner, c.relacl, c.relpersistence)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_'
        UNION ALL
        SELECT concat_ws(',', a.attrelid, a.attnum, a.attname, a.atttypid, a.attnotnull)
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_'
        UNION ALL
        SELECT concat_ws(',', oid, conname, convalidated) FROM pg_constraint
        UNION ALL
        SELECT concat_ws(',', oid, tgname, tgenabled) FROM pg_trigger
        UNION ALL
        SELECT concat_ws(',', p.oid, p.proname, p.proacl, md5(p.prosrc))
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname !~ '^pg_'
        UNION ALL
        SELECT concat_ws(',', setconfig) FROM pg_db_role_setting
            JOIN pg_database d ON d.oid = setdatabase AND d.datname = current_database()
    ) AS parts"""
OTHERS_END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="package")
def suite_dsn() -> Iterator[str]:
    """The DSN of a migrated database of this suite and worker."""
    found = os.environ.get(_variable("local")) or os.environ[_variable("embedded")]
    dsn, template = found.split()
    kept = asyncio.run(Kept.make(dsn, template))
    yield kept.dsn
    asyncio.run(kept.drop())


@pytest.fixture
async def database_dsn(suite_dsn: str) -> str:
    """The same, as the migrations left it."""
    await _run(suite_dsn, RESTORE)
    return suite_dsn


@dataclass(frozen=True)
class Kept:
    """A migrated database, and what its schema was when it was made."""

    server_dsn: str
    dsn: str
    shape: str

    @classmethod
    async def make(cls, server_dsn: str, template: str) -> Self:
        name = f"smartspec_test_{new_id().hex}"
        await _run(server_dsn, f"CREATE DATABASE {name} TEMPLATE {template}")
        dsn = _named(server_dsn, name)
        await _run(dsn, KEEP)
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(REMEMBER)
            return cls(server_dsn, dsn, await connection.fetchval(SHAPE))
        finally:
            await connection.close()

    async def restored(self) -> bool:
        """Whether it is as it was made; nobody else is connected to it then."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(OTHERS_END)
            await connection.execute(REMOVE)
            if await connection.fetchval(SHAPE) != self.shape:
                return False
            await connection.execute(RESTORE)
        finally:
            await connection.close()
        return True

    async def drop(self) -> None:
        await _drop(self.server_dsn, self.dsn.rpartition("/")[2])


async def _run(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()
