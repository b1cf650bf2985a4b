import contextlib

import asyncpg
import pytest

from kernel.sql import DATABASE_LOST, Database, until_there


async def use_until_it_is_gone(database: Database, other: asyncpg.Connection) -> int:
    """The id of the server's process that `other` has ended meanwhile."""
    pid: int = 0
    with contextlib.suppress(*DATABASE_LOST):
        async with database.connection() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await other.execute("SELECT pg_terminate_backend($1::integer)", pid)
            while True:
                await connection.execute("SELECT 1")
    return pid


async def test_a_connection_that_its_server_has_ended_is_not_handed_out_again(
    database: Database, database_dsn: str
) -> None:
    other = await asyncpg.connect(database_dsn)
    pid = await use_until_it_is_gone(database, other)
    await other.close()
    for _ in range(2 * 12):  # more often than the pool has connections
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") != pid


async def test_a_value_that_does_not_fit_costs_no_connection(database: Database) -> None:
    async with database.connection() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT $1::integer", "no number")
        assert await connection.fetchval("SELECT pg_backend_pid()") == pid


async def test_asks_again_while_the_server_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [ConnectionRefusedError(), asyncpg.CannotConnectNowError("starting up")]
    monkeypatch.setattr("kernel.sql.AGAIN_AFTER_S", 0.0)

    async def ask() -> str:
        if faults:
            raise faults.pop(0)
        return "there"

    assert await until_there(ask) == "there"


async def test_does_not_ask_again_what_will_never_be_right() -> None:
    async def ask() -> None:
        raise asyncpg.InvalidPasswordError("wrong")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await until_there(ask)
