"""The servers that are measured, with a database and queues for each measurement alone."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from kernel.clock import SystemClock, new_id
from kernel.inbox_partitions import ensure_partitions
from kernel.schema import event_store_v1
from tests.rabbitmq import LOCAL_URL, remove

POSTGRES: Final = os.environ.get(
    "BENCH_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
RABBITMQ: Final = os.environ.get("BENCH_RABBITMQ_URL", LOCAL_URL)


@asynccontextmanager
async def fresh_database(*schemas: str) -> AsyncIterator[str]:
    """The DSN of an empty database with an event store in each of `schemas`; dropped at the end."""
    name = f"smartspec_bench_{new_id().hex}"
    await _execute(POSTGRES, f"CREATE DATABASE {name}")
    dsn = f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
    try:
        for schema in schemas:
            await _make_event_store(dsn, schema)
        yield dsn
    finally:
        await _execute(POSTGRES, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def fresh_queues() -> AsyncIterator[str]:
    """A prefix for every name on the broker; what a bus declares with it goes at the end."""
    prefix = f"bench-{new_id().hex}."
    try:
        yield prefix
    finally:
        await remove(RABBITMQ, prefix)


async def facts() -> dict[str, str]:
    """Of the database server: its version, and whether a commit is on the disk."""
    connection = await asyncpg.connect(POSTGRES)
    try:
        return {
            "postgresql": str(await connection.fetchval("SHOW server_version")),
            "fsync": str(await connection.fetchval("SHOW fsync")),
            "synchronous_commit": str(await connection.fetchval("SHOW synchronous_commit")),
        }
    finally:
        await connection.close()


async def _make_event_store(dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE SCHEMA {schema}")
        for statement in event_store_v1(schema):
            await connection.execute(statement)
        await ensure_partitions(connection, schema, SystemClock().now())
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
