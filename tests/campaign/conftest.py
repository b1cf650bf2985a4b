"""One small real history for the module, and a copy of it for each test to spoil."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from kernel.clock import new_id
from tests.campaign.checker import check
from tests.campaign.final_reads import HISTORIES, Told
from tests.campaign.invariants import Violation
from tests.campaign.small_world import World, live


@dataclass(frozen=True)
class Spoilable:
    """A world that has lived, stopped, and is nobody else's."""

    dsn: str
    world: World

    async def spoil(self, *statements: str) -> None:
        """Run SQL with the append-only triggers off; each statement must change something."""
        connection = await asyncpg.connect(self.dsn)
        try:
            for schema in HISTORIES:
                await connection.execute(f"ALTER TABLE {schema}.events DISABLE TRIGGER USER")
            for statement in statements:
                tag = await connection.execute(statement)
                assert int(tag.split()[-1]) > 0, f"nothing to spoil: {statement}"
        finally:
            await connection.close()

    async def violations(self, told: Told | None = None) -> list[Violation]:
        world = self.world
        return await check(self.dsn, world.objects_root, told or world.told, journal=world.journal)


def _embedded() -> tuple[str, str]:
    """The embedded server's DSN, and its migrated template."""
    dsn, template = os.environ["TEST_POSTGRES_EMBEDDED"].split()
    return dsn, template


async def _copy(template: str) -> str:
    dsn, _ = _embedded()
    name = f"smartspec_campaign_{new_id().hex}"
    await _administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    return dsn.rsplit("/", 1)[0] + f"/{name}"


async def _drop(dsn: str) -> None:
    await _administer(f"DROP DATABASE {dsn.rsplit('/', 1)[1]} WITH (FORCE)")


async def _administer(statement: str) -> None:
    admin = await asyncpg.connect(_embedded()[0])
    try:
        await admin.execute(statement)
    finally:
        await admin.close()


@pytest.fixture
async def empty_dsn() -> AsyncIterator[str]:
    """A migrated database of this test's own, on the embedded server."""
    dsn = await _copy(_embedded()[1])
    yield dsn
    await _drop(dsn)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilable]:
    """Never to be spoiled itself."""
    home = tmp_path_factory.mktemp("world")
    dsn = asyncio.run(_copy(_embedded()[1]))
    yield Spoilable(dsn, asyncio.run(live(dsn, home)))
    asyncio.run(_drop(dsn))


@pytest.fixture
async def spoilable(lived: Spoilable, tmp_path: Path) -> AsyncIterator[Spoilable]:
    home = tmp_path / "home"
    shutil.copytree(lived.world.home, home)
    dsn = await _copy(lived.dsn.rsplit("/", 1)[1])
    yield Spoilable(dsn, replace(lived.world, home=home))
    await _drop(dsn)
