"""Renewing what is encrypted at rest, so that a former master key can be taken away; while serving.

Rows are read in batches and written one by one, each only if it is still what was read: whoever
wrote it meanwhile has written it under the first key, and nobody ever waits for more than one row.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from cryptography.fernet import InvalidToken

from kernel.encryption import Encryption
from kernel.sql import Database

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A table whose column `value` is encrypted; `owner` (uuid) and `name` (text) are its key."""

    table: str
    owner: str
    name: str


def personal_of(schema: str) -> Encrypted:
    return Encrypted(f"{schema}.personal", "owner_id", "ref")


class Renewed(NamedTuple):
    """How many rows are under the first key now that were not, and how many no key opens: they need
    one that is not given, or were tampered with."""

    renewed: int
    unreadable: int


async def reencrypt(database: Database, encryption: Encryption, where: Encrypted) -> Renewed:
    """Renew what is not under the first key."""
    renewed = unreadable = 0
    async for rows in _batches(database, where):
        for row in rows:
            try:
                value = encryption.renewed(row["value"])
            except InvalidToken:
                unreadable += 1
                continue
            if value is not None:
                renewed += await _replace(database, where, row, value)
    return Renewed(renewed, unreadable)


async def _replace(database: Database, where: Encrypted, row: asyncpg.Record, value: bytes) -> int:
    """1, or 0 when the row is not what was read any more."""
    async with database.connection() as connection:
        tag = await connection.execute(
            f"UPDATE {where.table} SET value = $4"
            f" WHERE {where.owner} = $1 AND {where.name} = $2 AND value = $3",
            *(row["owner"], row["name"], row["value"], value),
        )
    return int(tag.rpartition(" ")[2])


async def _batches(database: Database, where: Encrypted) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """Every row, by key. What is inserted behind the place that was reached is new already."""
    owner, name = UUID(int=0), ""
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {where.owner} AS owner, {where.name} AS name, value FROM {where.table}"
                f" WHERE ({where.owner}, {where.name}) > ($1, $2)"
                f" ORDER BY {where.owner}, {where.name} LIMIT {BATCH}",
                *(owner, name),
            )
        if not rows:
            return
        yield rows
        owner, name = rows[-1]["owner"], rows[-1]["name"]
