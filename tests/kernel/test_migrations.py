"""Every service's history of tables, from nothing to its head, by many at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from kernel.clock import new_id
from kernel.migrations import migrate, revisions

SERVICES = Path(__file__).parents[2] / "services"
FOLDERS = {folder.parent.name: folder for folder in sorted(SERVICES.glob("*/migrations"))}
ONE = dict(list(FOLDERS.items())[:1])


@pytest.fixture
async def empty(postgres_server: tuple[str, str]) -> AsyncIterator[str]:
    """The DSN of a database in which nothing is yet."""
    server, _ = postgres_server
    name = f"smartspec_test_{new_id().hex}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield f"{server.rsplit('/', 1)[0]}/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


async def fetchval(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


@pytest.mark.parametrize("service", FOLDERS)
def test_the_head_by_file_names_is_alembics_own(service: str) -> None:
    script = ScriptDirectory(str(FOLDERS[service]))
    assert revisions(FOLDERS[service])[-1] == script.get_current_head()
    assert len(revisions(FOLDERS[service])) == len(list(script.walk_revisions()))


async def test_brings_every_schema_to_its_head_and_the_second_time_does_nothing(
    empty: str,
) -> None:
    assert await migrate(empty, FOLDERS) == list(FOLDERS)
    assert await migrate(empty, FOLDERS) == []
    for schema, folder in FOLDERS.items():
        head = await fetchval(empty, f"SELECT version_num FROM {schema}.alembic_version")
        assert head == revisions(folder)[-1]


async def test_migrations_at_once_all_succeed(empty: str) -> None:
    await asyncio.gather(*(migrate(empty, ONE) for _ in range(3)))
    assert await migrate(empty, ONE) == []


async def test_understands_the_same_addresses_as_the_services(empty: str) -> None:
    assert await migrate(f"{empty}?sslmode=prefer", ONE) == list(ONE)
    assert await migrate(f"{empty}?sslmode=prefer".replace("postgresql:", "postgres:"), ONE) == []


async def test_a_migration_that_fails_leaves_nothing(empty: str, tmp_path: Path) -> None:
    folder = tmp_path / "50% broken"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(
        "from alembic import context\nfrom kernel.migrations import run_environment\n"
        "run_environment(context)\n"
    )
    (folder / "versions" / "0001_first.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE broken.a (b int)')\n    op.execute('oops')\n"
    )
    with pytest.raises(Exception, match="oops"):
        await migrate(empty, {"broken": folder})
    assert await fetchval(empty, "SELECT to_regnamespace('broken')") is None
