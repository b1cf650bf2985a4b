"""The records of users: how an address finds one, their password's hash, what they are called.

It stores no address in the clear: it looks for a keyed hash of the normalised one. While master
keys rotate there is one such hash by each of them: a record has one, and is looked for by all.
"""

import hmac
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    select,
)

from kernel.clock import new_id
from kernel.encryption import Encryption, Personal
from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.sql import Connection, fetch_row
from kernel.unit import Unit
from services.keys.adapters.passwords import Passwords
from services.keys.domain import FREE_PLAN, USER, USERS, Register, Role

EMAIL: Final = "email"
FULL_NAME: Final = "full_name"
USERNAME: Final = "username"
PHONE: Final = "phone"
NAMED: Final = (EMAIL, FULL_NAME, USERNAME, PHONE)

RECORDS = Table(
    "users",
    MetaData(schema="keys"),
    Column("user_id", Uuid, primary_key=True),
    Column("email_lookup", LargeBinary, nullable=False, unique=True),
    Column("password_hash", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("username_lookup", LargeBinary, unique=True),
    Column("firebase_sha256", LargeBinary, unique=True),
)
_RECORD = select(RECORDS.c.user_id, RECORDS.c.email_lookup, RECORDS.c.password_hash)
_BY_ADDRESS = _RECORD.where(RECORDS.c.email_lookup == any_(bindparam("lookups")))
_BY_FIREBASE = _RECORD.where(RECORDS.c.firebase_sha256 == bindparam("firebase_sha256"))
_BY_ID = _RECORD.where(RECORDS.c.user_id == bindparam("user_id"))


@dataclass(frozen=True, slots=True)
class UserRecord:
    """`password_hash` is None for who has never set one: they come by Firebase."""

    user_id: UUID
    email_lookup: bytes
    password_hash: str | None


class Lookups(NamedTuple):
    """What one address or username is found by: `own` by the first master key, `former` by the
    others."""

    own: bytes
    former: tuple[bytes, ...] = ()

    @property
    def every(self) -> list[bytes]:
        return [self.own, *self.former]

    @property
    def lock(self) -> int:
        """Names it in PostgreSQL's advisory locks, whichever of the keys comes first."""
        return int.from_bytes(min(self.every)[:8], signed=True)


@dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody to be: with a password, or with `firebase_sha256`, by which Firebase knows them."""

    email: str
    password_hash: str | None = None
    full_name: str | None = None
    role: Role = Role.USER
    firebase_sha256: bytes | None = None


def normalised(email: str) -> str:
    """The form in which two spellings of an address are one: NFKC, case folded, no space around."""
    folded = unicodedata.normalize("NFKC", email).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


class Finder:
    """What addresses and usernames are found by."""

    def __init__(self, encryption: Encryption) -> None:
        self._email_secrets = _secrets(encryption, "email-lookup")
        self._username_secrets = _secrets(encryption, "username-lookup")

    def of_email(self, email: str) -> Lookups:
        return _lookups(self._email_secrets, normalised(email))

    def of_username(self, username: str) -> Lookups:
        return _lookups(self._username_secrets, username.casefold())


def _secrets(encryption: Encryption, purpose: str) -> tuple[bytes, ...]:
    return (encryption.derived_secret(purpose), *encryption.former_secrets(purpose))


def _lookups(secrets: Sequence[bytes], text: str) -> Lookups:
    own, *former = (hmac.digest(secret, text.encode(), "sha256") for secret in secrets)
    return Lookups(own, tuple(former))


class Users:
    def __init__(self, store: EventStore, encryption: Encryption, passwords: Passwords) -> None:
        self._store = store
        self._personal = Personal(store.schema, encryption)
        self._finder = Finder(encryption)
        self._passwords = passwords

    async def register(self, email: str, password: str, role: Role = Role.USER) -> UUID:
        """A new user by nobody's request. Raises `Rejected` (`email_taken`)."""
        new = NewUser(email, await self._passwords.hash(password), role=role)

        async def work(unit: Unit) -> UUID:
            return await self.add(unit, new_id(), new)

        return await self._store.transact(work)

    async def add(self, unit: Unit, user_id: UUID, new: NewUser) -> UUID:
        """`new` with an account of their own. Raises `Rejected` (`email_taken`)."""
        if await self.holder(unit.connection, new.email) is not None:
            raise Rejected("email_taken", "This address is registered already.")
        command = Register(user_id, new_id(), new.role.value, FREE_PLAN, unit.now)
        await unit.decide(USERS, USER.stream_id(user_id), command)
        lookups = self.lookups(new.email)
        lock(unit, lookups)
        # Of an address that was taken meanwhile, under whichever key, the look-up that is there
        # already: it can't be there twice.
        unit.record_sql(
            "INSERT INTO keys.users"
            " (user_id, email_lookup, password_hash, firebase_sha256, created_at)"
            " VALUES ($1, coalesce((SELECT email_lookup FROM keys.users"
            " WHERE email_lookup = ANY($2::bytea[]) LIMIT 1), $3), $4, $5, $6)",
            *(user_id, lookups.every, lookups.own),
            *(new.password_hash, new.firebase_sha256, unit.now),
        )
        await self._personal.keep(unit, user_id, EMAIL, normalised(new.email))
        if new.full_name is not None:
            await self._personal.keep(unit, user_id, FULL_NAME, new.full_name)
        return user_id

    async def find(self, email: str) -> UUID | None:
        async with self._store.database.connection() as connection:
            record = await self.holder(connection, email)
        return None if record is None else record.user_id

    async def holder(self, connection: Connection, email: str) -> UserRecord | None:
        """Whose address it is."""
        return await self._found(connection, self.lookups(email).every)

    async def found(self, connection: Connection, lookup: bytes) -> UserRecord | None:
        """Whose address it is, by the very `email_lookup` that their record has."""
        return await self._found(connection, [lookup])

    async def of_firebase(self, connection: Connection, sha256: bytes) -> UserRecord | None:
        row = await fetch_row(connection, _BY_FIREBASE, firebase_sha256=sha256)
        return None if row is None else UserRecord(**row)

    async def of(self, connection: Connection, user_id: UUID) -> UserRecord | None:
        row = await fetch_row(connection, _BY_ID, user_id=user_id)
        return None if row is None else UserRecord(**row)

    def set_password(self, unit: Unit, user_id: UUID, password_hash: str) -> None:
        unit.record_sql(
            "UPDATE keys.users SET password_hash = $2 WHERE user_id = $1", user_id, password_hash
        )

    def link_firebase(self, unit: Unit, user_id: UUID, sha256: bytes | None) -> None:
        """From now on Firebase's user of that hash is this one; None: nobody is."""
        unit.record_sql(
            "UPDATE keys.users SET firebase_sha256 = $2 WHERE user_id = $1", user_id, sha256
        )

    async def rename(self, unit: Unit, user_id: UUID, changes: Mapping[str, str | None]) -> None:
        """Take `changes` of username, phone and full name; None removes what is there.

        Raises `Rejected` (`username_taken`).
        """
        if USERNAME in changes:
            await self._take_username(unit, user_id, changes[USERNAME])
        for ref, text in changes.items():
            if text is None:
                self._personal.remove(unit, user_id, ref)
            else:
                self._personal.replace(unit, user_id, ref, text)

    def forget(self, unit: Unit, record: UserRecord) -> None:
        """Delete all that is kept of them beside their history; the address is free again."""
        unit.record_sql(
            "DELETE FROM keys.key_usage WHERE key_id IN"
            " (SELECT key_id FROM keys_read.api_keys_v2 WHERE user_id = $1)",
            record.user_id,
        )
        for table in ("sessions", "mail_tokens", "provider_keys", "users"):
            unit.record_sql(f"DELETE FROM keys.{table} WHERE user_id = $1", record.user_id)
        unit.record_sql("DELETE FROM keys.mails WHERE email_lookup = $1", record.email_lookup)
        self._personal.forget(unit, record.user_id)

    async def personal(self, user_id: UUID) -> dict[str, str]:
        """`email`, `full_name`, `username` and `phone`, each only where there is one."""
        async with self._store.database.connection() as connection:
            return await self._personal.read(connection, user_id, NAMED)

    async def emails(self, user_ids: Sequence[UUID]) -> dict[UUID, str]:
        async with self._store.database.connection() as connection:
            return await self._personal.read_each(connection, user_ids, EMAIL)

    def lookup(self, email: str) -> bytes:
        """What stands for an address that nobody has."""
        return self.lookups(email).own

    def lookups(self, email: str) -> Lookups:
        return self._finder.of_email(email)

    async def _found(self, connection: Connection, lookups: list[bytes]) -> UserRecord | None:
        row = await fetch_row(connection, _BY_ADDRESS, lookups=lookups)
        return None if row is None else UserRecord(**row)

    async def _take_username(self, unit: Unit, user_id: UUID, username: str | None) -> None:
        if username is None:
            unit.record_sql(
                "UPDATE keys.users SET username_lookup = NULL WHERE user_id = $1", user_id
            )
            return
        lookups = self._finder.of_username(username)
        holder = await unit.connection.fetchval(
            "SELECT user_id FROM keys.users WHERE username_lookup = ANY($1::bytea[])",
            lookups.every,
        )
        if holder not in {None, user_id}:
            raise Rejected("username_taken", "This username is taken.", {"field": USERNAME})
        lock(unit, lookups)
        unit.record_sql(  # the same as for an address: one that was taken meanwhile is refused
            "UPDATE keys.users SET username_lookup = coalesce((SELECT other.username_lookup"
            " FROM keys.users AS other WHERE other.user_id <> $1"
            " AND other.username_lookup = ANY($2::bytea[]) LIMIT 1), $3) WHERE user_id = $1",
            *(user_id, lookups.every, lookups.own),
        )


def lock(unit: Unit, lookups: Lookups) -> None:
    """From here to the commit nobody else takes this address or username, or renews its look-up."""
    unit.record_sql("SELECT pg_advisory_xact_lock($1)", lookups.lock)
