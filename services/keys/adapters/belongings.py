"""What somebody who took an address that was not theirs may have left in its account.

Whoever shows that an unverified address is theirs gets an account that another person may have
made, and nothing of that person's may stay good in it ("account pre-hijacking": Sudhodanan and
Paverd, USENIX Security 2022).
"""

from dataclasses import replace
from typing import Final
from uuid import UUID

from kernel.event_store import EventStore
from kernel.unit import Unit
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.adapters.provider_keys import ProviderKeys
from services.keys.adapters.second_factors import SecondFactors
from services.keys.domain import API_KEY, KEYS, RevokeKey
from services.keys.domain.audit import Action

KEYS_AT_ONCE_MAX: Final = 100
_LIVE: Final = (
    "SELECT key_id FROM keys_read.api_keys_v2"
    f" WHERE user_id = $1 AND is_active LIMIT {KEYS_AT_ONCE_MAX}"
)


class Belongings:
    def __init__(
        self,
        store: EventStore,
        audit: AuditTrail,
        factors: SecondFactors,
        provider_keys: ProviderKeys,
    ) -> None:
        self._store = store
        self._audit = audit
        self._factors = factors
        self._provider_keys = provider_keys

    async def drop(self, unit: Unit, user_id: UUID) -> None:
        """The second factor and the keys of vendors."""
        await self._factors.drop(unit, user_id)
        self._provider_keys.drop(unit, user_id)

    async def revoke_keys(self, attempt: Attempt) -> None:
        """Every API key of `attempt.user_id`, each in a transaction of its own."""
        while key_ids := await self._live(attempt.user_id):
            for key_id in key_ids:
                await self._revoke(replace(attempt, action=Action.REVOKE_KEY, key_id=key_id))

    async def _live(self, user_id: UUID) -> list[UUID]:
        async with self._store.database.connection() as connection:
            return [row["key_id"] for row in await connection.fetch(_LIVE, user_id)]

    async def _revoke(self, attempt: Attempt) -> None:
        key_id = attempt.key_id
        assert key_id is not None, "it is about a key"

        async def work(unit: Unit) -> None:
            command = RevokeKey(key_id, attempt.user_id, unit.now)
            await unit.decide(KEYS, API_KEY.stream_id(key_id), command)
            await self._audit.note(unit, attempt)

        await self._store.transact(work)
