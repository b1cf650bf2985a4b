"""Which vendor is asked, and under whose key: the platform's, or the own one of a task's user.

A task that was priced for the user's own key is never made under the platform's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from kernel.errors import Unavailable
from services.generation.adapters.own_keys import OwnKeys
from services.generation.adapters.providers import Fault, Provider, Refused

NO_PLATFORM_KEY: Final = Refused(Fault.AUTH, "The platform has no key of this provider any more.")
NO_OWN_KEY: Final = Refused(Fault.AUTH, "The user has no key of this provider any more.")
NOT_NOW: Final = Refused(Fault.UNAVAILABLE, "The user's own key can't be had just now.")


@dataclass(frozen=True, slots=True)
class Vendors:
    """`providers` are under the platform's keys; of `keyless` it has none, so that they are asked
    under users' own keys alone. `played` are those that the sandbox plays, without limits."""

    providers: Mapping[str, Provider]
    own_keys: OwnKeys
    keyless: Mapping[str, Provider] = field(default_factory=dict)
    played: frozenset[str] = frozenset()

    async def asked_under(self, provider: str, key_owner_id: UUID | None) -> Provider | Refused:
        """The vendor under the own key of `key_owner_id`, under the platform's for None; or why it
        can't be asked so."""
        if key_owner_id is None:
            return self.providers.get(provider, NO_PLATFORM_KEY)
        vendor = self.providers.get(provider) or self.keyless.get(provider)
        if vendor is None:
            return NO_OWN_KEY
        try:
            api_key = await self.own_keys.key(key_owner_id, provider)
        except Unavailable:
            return NOT_NOW
        return NO_OWN_KEY if api_key is None else vendor.under(api_key)

    async def has_own_key(self, user_id: UUID, provider: str) -> bool:
        """Whether a task that is created now is made under the user's own key. Raises
        `Unavailable`."""
        known = provider in self.providers or provider in self.keyless
        return known and await self.own_keys.has(user_id, provider)

    async def aclose(self) -> None:
        for vendor in (*self.providers.values(), *self.keyless.values()):
            await vendor.aclose()
        await self.own_keys.aclose()
