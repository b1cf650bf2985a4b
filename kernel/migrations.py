"""Migrations: each service's own alembic history, in its own schema, one after the other.

A start whose schemas are all at their heads asks one query and never loads alembic.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

LOCK_KEY = 0x536D_6172_7453_7065  # "SmartSpe"; one migration at a time on a database


def revisions(folder: Path) -> list[str]:
    """The history in `folder/versions`, oldest first: file names begin with the revision."""
    return sorted(path.stem.split("_")[0] for path in (folder / "versions").glob("[0-9]*.py"))


async def migrate(dsn: str, folders: Mapping[str, Path]) -> list[str]:
    """Bring each schema of `folders` (schema -> migrations folder) to its head; which changed."""
    current = await _current_revisions(dsn, list(folders))
    behind = [name for name, path in folders.items() if current.get(name) != revisions(path)[-1]]
    for schema in behind:
        await _upgrade(dsn, schema, folders[schema])
    return behind


async def _current_revisions(dsn: str, schemas: Sequence[str]) -> dict[str, str]:
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT table_schema FROM information_schema.tables"
            " WHERE table_name = 'alembic_version' AND table_schema = ANY($1::text[])",
            schemas,
        )
        return {
            row["table_schema"]: str(
                await connection.fetchval(
                    f'SELECT version_num FROM "{row["table_schema"]}".alembic_version'
                )
            )
            for row in tables
        }
    finally:
        await connection.close()


async def _upgrade(dsn: str, schema: str, folder: Path) -> None:
    from alembic import command  # noqa: PLC0415 - a warm start does without
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import Connection as SyncConnection  # noqa: PLC0415
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    def upgrade(connection: SyncConnection) -> None:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        config.attributes["schema"] = schema
        command.upgrade(config, "head")

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn)  # SQLAlchemy would not understand `?sslmode=require`

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


def run_environment(context: Any) -> None:
    """The body of every service's `migrations/env.py`; `context` is alembic's."""
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        version_table_schema=attributes["schema"],
        include_schemas=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
