"""Renewing encrypted rows: each once, in batches, and never over what somebody wrote meanwhile."""

import asyncio

import pytest

from kernel.clock import new_id
from kernel.encryption import Encryption
from kernel.errors import Unauthenticated
from kernel.http import Identity, InternalTokens
from kernel.reencryption import BATCH, Renewed, personal_of, reencrypt
from kernel.sql import Database
from kernel.testing import FakeClock

OLD = "an old master key, long enough for anyone"
NEW = "a new master key, long enough for anyone"
PERSONAL = personal_of("keys")
BOTH = Encryption([NEW, OLD])


async def fill(database: Database, encryption: Encryption, count: int) -> None:
    rows = [(new_id(), f"ref-{n % 3}", encryption.encrypt(f"text {n}")) for n in range(count)]
    async with database.connection() as connection:
        await connection.executemany("INSERT INTO keys.personal VALUES ($1, $2, $3)", rows)


async def texts(database: Database, encryption: Encryption) -> set[str]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT value FROM keys.personal")
    return {encryption.decrypt(row["value"]) for row in rows}


def test_what_is_under_the_first_key_needs_no_renewal() -> None:
    assert BOTH.renewed(BOTH.encrypt("text")) is None
    renewed = BOTH.renewed(Encryption([OLD]).encrypt("text"))
    assert renewed is not None
    assert Encryption([NEW]).decrypt(renewed) == "text"


async def test_renews_every_row_once(database: Database) -> None:
    await fill(database, Encryption([OLD]), BATCH + 7)
    await fill(database, BOTH, 5)
    assert await reencrypt(database, BOTH, PERSONAL) == Renewed(BATCH + 7, 0)
    assert len(await texts(database, Encryption([NEW]))) == BATCH + 7
    assert await reencrypt(database, BOTH, PERSONAL) == Renewed(0, 0)


async def test_two_at_once_renew_each_row_once(database: Database) -> None:
    await fill(database, Encryption([OLD]), 50)
    told = await asyncio.gather(*(reencrypt(database, BOTH, PERSONAL) for _ in range(2)))
    assert sum(one.renewed for one in told) == 50


async def test_what_somebody_wrote_meanwhile_stays(database: Database) -> None:
    await fill(database, Encryption([OLD]), 3)

    async with database.connection() as connection:
        async with connection.transaction():
            await connection.execute("UPDATE keys.personal SET value = $1", BOTH.encrypt("mine"))
            renewing = asyncio.create_task(reencrypt(database, BOTH, PERSONAL))
            async with asyncio.timeout(30):
                while not await waits_for_a_lock(database):  # noqa: ASYNC110 - the server knows
                    await asyncio.sleep(0.01)
        assert await renewing == Renewed(0, 0)
    assert await texts(database, Encryption([NEW])) == {"mine"}


async def waits_for_a_lock(database: Database) -> bool:
    async with database.connection() as connection:
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database())"
            )
        )


async def test_a_row_that_no_key_opens_is_counted_and_left(database: Database) -> None:
    await fill(database, Encryption(["another master key, which nobody has any more"]), 2)
    await fill(database, Encryption([OLD]), 3)
    assert await reencrypt(database, BOTH, PERSONAL) == Renewed(3, 2)


def test_processes_whose_keys_stand_in_another_order_understand_each_other(
    clock: FakeClock,
) -> None:
    sides = [
        InternalTokens(one.derived_secret("internal"), clock, one.former_secrets("internal"))
        for one in (BOTH, Encryption([OLD, NEW]))
    ]
    who = Identity(new_id(), new_id(), "user", "free", frozenset())
    for one, other in (sides, reversed(sides)):
        assert one.read(other.mint(who)) == who
    foreign = InternalTokens(b"of somebody else, and long enough for it", clock).mint(who)
    for side in sides:
        with pytest.raises(Unauthenticated):
            side.read(foreign)
