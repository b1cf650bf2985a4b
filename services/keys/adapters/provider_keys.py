"""Users' own keys of vendors: kept encrypted, told to the services that ask with them, and to no
person again.

What is encrypted names its user and provider too, so that a row that was moved opens nothing.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from kernel.encryption import Encryption
from kernel.errors import Forbidden
from kernel.event_store import EventStore
from kernel.sql import Connection
from kernel.unit import Unit
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.domain import USER, Provider, provider_key_not_found

SHOWN_LENGTH: Final = 4

_OWN: Final = (
    "SELECT provider, value, created_at, updated_at FROM keys.provider_keys"
    " WHERE user_id = $1 ORDER BY provider"
)
_ONE: Final = "SELECT value FROM keys.provider_keys WHERE user_id = $1 AND provider = $2"
_SET: Final = """
    INSERT INTO keys.provider_keys (user_id, provider, value, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $4)
    ON CONFLICT (user_id, provider)
        DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at"""
_DELETE: Final = "DELETE FROM keys.provider_keys WHERE user_id = $1 AND provider = $2"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """`last_four` are the end of the key."""

    provider: str
    last_four: str
    created_at: datetime
    updated_at: datetime


class ProviderKeys:
    """The records `keys.provider_keys`."""

    def __init__(self, store: EventStore, encryption: Encryption, audit: AuditTrail) -> None:
        self._store = store
        self._encryption = encryption
        self._audit = audit

    async def set(self, attempt: Attempt, provider: Provider, api_key: str) -> None:
        """Keep `api_key`, in place of one that is there. Raises `Forbidden` for whom nobody is."""
        user_id = attempt.user_id
        value = self._encryption.encrypt(json.dumps([str(user_id), provider.value, api_key]))

        async def work(unit: Unit) -> None:
            await self._audit.note(unit, attempt)
            if not (await unit.state(USER, USER.stream_id(user_id))).is_active:
                raise Forbidden("access_denied", "Only a registered user can have provider keys.")
            unit.record_sql(_SET, user_id, provider.value, value, unit.now)

        await self._store.transact(work)

    async def delete(self, attempt: Attempt, provider: Provider) -> None:
        """Raises `NotFound` (`provider_key_not_found`)."""
        user_id = attempt.user_id

        async def work(unit: Unit) -> None:
            await self._audit.queue(unit, user_id)
            if await unit.connection.fetchval(_ONE, user_id, provider.value) is None:
                raise provider_key_not_found()
            await self._audit.note(unit, attempt)
            unit.record_sql(_DELETE, user_id, provider.value)

        await self._store.transact(work)

    def drop(self, unit: Unit, user_id: UUID) -> None:
        """Forget all of the user's, in the transaction that says why."""
        unit.record_sql("DELETE FROM keys.provider_keys WHERE user_id = $1", user_id)

    async def of(self, user_id: UUID) -> list[KnownKey]:
        """What the user may see of them, by provider."""
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(_OWN, user_id)
        found = []
        for row in rows:
            api_key = self._opened(row["value"], user_id, row["provider"])
            if api_key is not None:
                last_four = api_key[-SHOWN_LENGTH:]
                found.append(
                    KnownKey(row["provider"], last_four, row["created_at"], row["updated_at"])
                )
        return found

    async def key(self, user_id: UUID, provider: Provider) -> str | None:
        async with self._store.database.connection() as connection:
            return await self._key(connection, user_id, provider)

    async def _key(self, connection: Connection, user_id: UUID, provider: Provider) -> str | None:
        value = await connection.fetchval(_ONE, user_id, provider.value)
        return None if value is None else self._opened(value, user_id, provider.value)

    def _opened(self, value: bytes, user_id: UUID, provider: str) -> str | None:
        """The key, if that is what it was encrypted for. Raises `InvalidToken` where no master key
        opens it."""
        whose, of_provider, api_key = json.loads(self._encryption.decrypt(value))
        if (whose, of_provider) != (str(user_id), provider):
            _log.error("provider_key_misplaced", user_id=str(user_id), provider=provider)
            return None
        return str(api_key)
