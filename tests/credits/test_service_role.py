"""The ledger can be added to, and nothing else, by its service's own role as by its owner."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from kernel.clock import new_id
from kernel.projections import ensure, verify
from kernel.service import Platform, Service
from kernel.settings import read_settings
from kernel.sql import Database
from kernel.testing import FakeClock, envelope_of
from services.credits.__main__ import main
from services.credits.adapters.due_accounts import DueAccounts
from services.credits.adapters.service_role import service_role
from services.credits.app import AGGREGATES, create_service
from services.credits.read_model import READ_MODEL
from services.credits.settings import CreditsSettings
from tests.conftest import database_dsn
from tests.credits.conftest import cancelled, completed, created, registered
from tests.fake_generation import FakeGeneration

__all__ = ["database_dsn"]

CHANGES = [
    "UPDATE credits.{table} SET {column} = {column}",
    "DELETE FROM credits.{table}",
    "TRUNCATE credits.{table}",
]
ESCAPES = [
    "ALTER TABLE credits.{table} DISABLE TRIGGER ALL",
    "DROP TABLE credits.{table} CASCADE",
    "ALTER TABLE credits.{table} OWNER TO current_user",
    "DROP SCHEMA credits CASCADE",
    "SET session_replication_role = replica",
]
TABLES = {"events": "data", "seals": "head"}


@dataclass(frozen=True)
class Served:
    """Credits on a database of which its role owns neither events nor seals."""

    service: Service
    database: Database
    owner: Database
    clock: FakeClock


@pytest.fixture
async def served(
    database: Database, database_dsn: str, platform: Platform, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Served]:
    role = f"credits_{new_id().hex}"
    async with database.connection() as connection:
        await ensure(connection, READ_MODEL)
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
        await connection.execute(service_role(role))
        await connection.execute(service_role(role))  # once more, as after a migration
    address = database_dsn.rpartition("@")[2].removeprefix("postgresql://")
    own = await Database.connect(f"postgresql://{role}:secret@{address}")
    settings = read_settings(CreditsSettings, SMARTSPEC_HOME=tmp_path)
    platform = replace(platform, database=own)
    service = create_service(settings, platform, FakeGeneration(platform).peer)
    await service.start(platform.bus, pytest.fail)
    yield Served(service, own, database, clock)
    await service.quiesce()
    await service.stop()
    await own.close()
    async with database.connection() as connection:
        await connection.execute(f"REASSIGN OWNED BY {role} TO current_user")
        await connection.execute(f"DROP OWNED BY {role}")
        await connection.execute(f"DROP ROLE {role}")


async def lived(served: Served) -> None:
    account, first, second = new_id(), new_id(), new_id()
    assert served.service.inbox is not None
    for event in (
        registered(account),
        *(created(account, first, 15_000), completed(account, first, 15_000)),
        *(created(account, second, 15_000), cancelled(account, second)),
    ):
        await served.service.inbox.receive(envelope_of(event))


async def test_the_service_lives_by_what_its_role_may(served: Served) -> None:
    await lived(served)
    assert served.service.store is not None
    assert served.service.inbox is not None
    await served.service.inbox.maintain()
    assert await DueAccounts(served.service.store).catch_up_some() == 0
    async with served.owner.connection() as connection:
        kinds = await connection.fetch(
            "SELECT kind FROM credits_read.credit_transactions ORDER BY account_version"
        )
    assert [row["kind"] for row in kinds] == ["grant", "hold", "commit", "hold", "release"]
    assert await verify(served.owner, "credits", AGGREGATES) == []


async def test_its_role_can_not_change_the_ledger(served: Served) -> None:
    await lived(served)
    async with served.database.connection() as connection:
        for statement in statements(*CHANGES, *ESCAPES):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_neither_can_whoever_owns_it(served: Served) -> None:
    async with served.owner.connection() as connection:
        for statement in statements(*CHANGES):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(statement)


def statements(*changes: str) -> list[str]:
    """Of each change, for each table of the ledger."""
    return [
        change.format(table=table, column=column)
        for change in changes
        for table, column in TABLES.items()
    ]


def test_the_statements_are_printed_for_whoever_administers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["ledger", "role", "credits_service"]) == 0
    assert 'GRANT SELECT, INSERT ON credits.events, credits.seals TO "credits_service"' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ['a"; DROP TABLE x', "", "a-b", "x" * 64])
def test_a_name_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        service_role(name)
