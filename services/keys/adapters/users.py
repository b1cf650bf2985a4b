"""The records of users: how an address finds one, their password's hash, their encrypted name.

It stores no address in the clear: it looks for a keyed hash of the normalised one.
"""

import hmac
import unicodedata
from uuid import UUID

import asyncpg
from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, Uuid, bindparam, select

from kernel.clock import new_id
from kernel.encryption import Encryption, Personal
from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.unit import Unit
from services.keys.adapters.passwords import Passwords
from services.keys.domain import FREE_PLAN, REGISTRATION, USER, Register, Role

EMAIL = "email"
FULL_NAME = "full_name"

RECORDS = Table(
    "users",
    MetaData(schema="keys"),
    Column("user_id", Uuid, primary_key=True),
    Column("email_lookup", LargeBinary, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
_BY_ADDRESS = select(RECORDS.c.user_id, RECORDS.c.password_hash).where(
    RECORDS.c.email_lookup == bindparam("email_lookup")
)


def normalised(email: str) -> str:
    """The form in which two spellings of an address are one: NFKC, case folded, no space around."""
    folded = unicodedata.normalize("NFKC", email).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


class Users:
    def __init__(self, store: EventStore, encryption: Encryption, passwords: Passwords) -> None:
        self._store = store
        self._personal = Personal(store.schema, encryption)
        self._lookup_secret = encryption.derived_secret("email-lookup")
        self._passwords = passwords

    async def register(
        self, email: str, password: str, full_name: str | None = None, role: Role = Role.USER
    ) -> UUID:
        """A new user with an account of their own. Raises `Rejected` (`email_taken`)."""
        lookup = self._lookup(email)
        user_id, account_id = new_id(), new_id()
        password_hash = await self._passwords.hash(password)

        async def work(unit: Unit) -> UUID:
            if await _holder(unit, lookup) is not None:
                raise Rejected("email_taken", "This address is registered already.")
            command = Register(user_id, account_id, role.value, FREE_PLAN, unit.now)
            await unit.decide(REGISTRATION, USER.stream_id(user_id), command)
            unit.record_sql(
                "INSERT INTO keys.users (user_id, email_lookup, password_hash, created_at)"
                " VALUES ($1, $2, $3, $4)",
                *(user_id, lookup, password_hash, unit.now),
            )
            await self._personal.keep(unit, user_id, EMAIL, normalised(email))
            if full_name is not None:
                await self._personal.keep(unit, user_id, FULL_NAME, full_name)
            return user_id

        return await self._store.transact(work)

    async def sign_in(self, email: str, password: str) -> UUID | None:
        """Whose address and password these are; None, after the same time, if nobody's."""
        row = await self._row(email)
        password_hash = None if row is None else row["password_hash"]
        matches = await self._passwords.matches(password, password_hash)
        return row["user_id"] if row is not None and matches else None

    async def find(self, email: str) -> UUID | None:
        row = await self._row(email)
        return None if row is None else row["user_id"]

    async def personal(self, user_id: UUID) -> dict[str, str]:
        """`email` and `full_name`, each only where there is one."""
        async with self._store.database.connection() as connection:
            return await self._personal.read(connection, user_id, (EMAIL, FULL_NAME))

    async def _row(self, email: str) -> asyncpg.Record | None:
        return await self._store.database.fetch_row(_BY_ADDRESS, email_lookup=self._lookup(email))

    def _lookup(self, email: str) -> bytes:
        return hmac.digest(self._lookup_secret, normalised(email).encode(), "sha256")


async def _holder(unit: Unit, lookup: bytes) -> UUID | None:
    holder: UUID | None = await unit.connection.fetchval(
        "SELECT user_id FROM keys.users WHERE email_lookup = $1", lookup
    )
    return holder
