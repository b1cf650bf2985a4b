"""Who acts by a credential: what is kept of a key or a session while it is known.

A hundred thousand are kept, so what many have in common is one object.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from kernel.http.identity import Identity
from kernel.rates import Rate, RateClass
from services.gateway.adapters.client_address import Network, is_within, network_of

_SHARED_MAX: Final = 4_096


Rates = tuple[tuple[RateClass, Rate], ...]


@dataclass(slots=True)
class Holder:
    """`ends_at` is None for what ends by being ended alone; `networks` is empty where it is good
    from anywhere. `turn` is the ring's: how much it had heard when it asked."""

    identity: Identity
    ends_at: datetime | None = None
    networks: tuple[Network, ...] = ()
    turn: int = 0

    @property
    def ids(self) -> tuple[UUID | None, ...]:
        """Whatever ends one of these ends the credential."""
        return self.identity.key_id, self.identity.session_id, self.identity.user_id

    def alive_at(self, now: datetime) -> bool:
        return self.ends_at is None or now < self.ends_at

    def is_good_from(self, address: str) -> bool:
        """`address` as `client_address` tells it."""
        return not self.networks or is_within(address, self.networks)


@lru_cache(_SHARED_MAX)
def shared_scopes(scopes: frozenset[str]) -> frozenset[str]:
    """One object for all that are equal."""
    return scopes


@lru_cache(_SHARED_MAX)
def shared_rates(rates: Rates) -> Rates:
    """The same for a key's own rates."""
    return rates


@lru_cache(_SHARED_MAX)
def shared_networks(ranges: tuple[str, ...]) -> tuple[Network, ...]:
    """Raises ValueError when one can't be read."""
    return tuple(network_of(text) for text in ranges)
