"""Whose API key this is. The key of the memory is the full hash: two keys that begin alike are two.

Bad keys of every kind take one path, so that they are alike in time too: malformed ones are hashed,
remembered and asked for like unknown ones, in a ring of their own, where they evict nothing.
"""

from collections.abc import Mapping
from typing import Final

from contracts.envelope import PublicEvent
from contracts.keys import KeyDeleted, KeyRevoked, KeyRotated, UserDisabled, UserErased
from kernel.bus import Bus
from kernel.clock import Clock
from kernel.http.api_key_format import key_digest, well_formed
from services.gateway.adapters.credentials import invalid_key
from services.gateway.adapters.holder import Holder
from services.gateway.adapters.ring import Resolve, Ring

KNOWN_MAX: Final = 100_000
ENDS: Final[Mapping[type[PublicEvent], str]] = {
    KeyRevoked: "key_id",
    KeyRotated: "key_id",
    KeyDeleted: "key_id",
    UserDisabled: "user_id",
    UserErased: "user_id",
}
"""Each event after which a key may stand for something else, or nothing; and whose."""


class KeyRing:
    """Keys seen lately: at most `KNOWN_MAX` good ones."""

    def __init__(self, resolve: Resolve[bytes], clock: Clock) -> None:
        """`resolve` is given a key's SHA-256."""
        self._keys = Ring(resolve, clock, KNOWN_MAX)
        self._malformed = Ring(resolve, clock, known_max=1)

    def __len__(self) -> int:
        """How many good ones are remembered."""
        return len(self._keys)

    def listen(self, bus: Bus) -> None:
        self._keys.listen(bus, ENDS)

    async def holder(self, key: str) -> Holder:
        """Who holds `key`.

        Raises:
            Unauthenticated: malformed, unknown, foreign, revoked or expired; all alike.
            Unavailable: keys can't say, or too many questions wait already.
        """
        ring = self._keys if well_formed(key) else self._malformed
        holder = await ring.find(key_digest(key))
        if holder is None:
            raise invalid_key()
        return holder
