"""Renewing the look-ups of users, so that a former master key can be taken away; while serving.

Each user is renewed in a transaction of their own, under the locks that whoever registers the same
address, takes the same username or asks for a mail takes too: nobody is ever missed or there twice.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from kernel.encryption import Encryption, Personal
from kernel.sql import Connection, Database
from services.keys.adapters.users import EMAIL, USERNAME, Finder, Lookups

BATCH: Final = 500
NONE: Final = Lookups(b"")

_RENEW: Final = """
    UPDATE keys.users SET
        email_lookup = CASE WHEN email_lookup = ANY($3::bytea[]) THEN $2 ELSE email_lookup END,
        username_lookup =
            CASE WHEN username_lookup = ANY($5::bytea[]) THEN $4 ELSE username_lookup END
    WHERE user_id = $1
        AND (email_lookup = ANY($3::bytea[]) OR username_lookup = ANY($5::bytea[]))"""
# A mail that waits under both look-ups is one: that of the former finds nobody, and is dropped.
_RENEW_MAILS: Final = """
    UPDATE keys.mails AS mail SET email_lookup = $1 WHERE email_lookup = ANY($2::bytea[])
        AND NOT EXISTS (SELECT FROM keys.mails AS same
            WHERE same.kind = mail.kind AND same.email_lookup = $1)"""


async def renew_lookups(database: Database, encryption: Encryption) -> int:
    """Give every user's address and username the look-up of the first key; how many users."""
    renewed = 0
    finder, personal = Finder(encryption), Personal("keys", encryption)
    async for rows in _batches(database):
        ids = [row["user_id"] for row in rows]
        async with database.connection() as connection:
            emails = await personal.read_each(connection, ids, EMAIL)
            usernames = await personal.read_each(connection, ids, USERNAME)
        for row in rows:
            user_id = row["user_id"]
            email, username = emails.get(user_id), usernames.get(user_id)
            of_email = NONE if email is None else finder.of_email(email)
            of_username = NONE if username is None else finder.of_username(username)
            is_former = row["email_lookup"] in of_email.former
            if is_former or row["username_lookup"] in of_username.former:
                async with database.transaction() as connection:
                    renewed += await _renew(connection, user_id, of_email, of_username)
    return renewed


async def _renew(
    connection: Connection, user_id: UUID, of_email: Lookups, of_username: Lookups
) -> int:
    """1, or 0 when they have taken another name, or were erased, since they were read."""
    for lookups in (of_email, of_username):
        if lookups is not NONE:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", lookups.lock)
    tag = await connection.execute(
        _RENEW,
        user_id,
        of_email.own,
        list(of_email.former),
        of_username.own,
        list(of_username.former),
    )
    await connection.execute(_RENEW_MAILS, of_email.own, list(of_email.former))
    return int(tag.rpartition(" ")[2])


async def _batches(database: Database) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """Every user, by id."""
    last = UUID(int=0)
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(
                "SELECT user_id, email_lookup, username_lookup FROM keys.users"
                f" WHERE user_id > $1 ORDER BY user_id LIMIT {BATCH}",
                last,
            )
        if not rows:
            return
        yield rows
        last = rows[-1]["user_id"]
