"""Whose API key this is, mostly from memory, and never a moment longer than the key lives.

The cache key is the full hash: two keys that begin alike are two keys. A key revoked while it is
being looked up is not let in by the answer that was already on its way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from contracts.envelope import Envelope
from contracts.keys import KeyRevoked
from kernel.cache import BoundedCache
from kernel.clock import Clock
from kernel.errors import Unavailable
from kernel.http.api_key_format import key_sha256, well_formed
from kernel.http.identity import Identity
from services.gateway.adapters.credentials import invalid_key
from services.gateway.adapters.keys_service import KeyFacts

KNOWN_MAX: Final = 10_000
KNOWN_FOR: Final = timedelta(seconds=30)
UNKNOWN_MAX: Final = 10_000
UNKNOWN_FOR: Final = timedelta(seconds=5)
LOOKUPS_MAX: Final = 1_000

Resolve = Callable[[str], Awaitable[KeyFacts | None]]
"""From a key's SHA-256 in hex to its facts; raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class _Holder:
    facts: KeyFacts
    identity: Identity


@dataclass(slots=True, eq=False)
class _Lookup:
    """One question to keys, shared by all who ask it meanwhile."""

    revoked: set[UUID] = field(default_factory=set)
    remembered: bool = True
    task: "asyncio.Task[_Holder | None] | None" = None


class KeyRing:
    """Keys seen lately: at most `KNOWN_MAX` good and `UNKNOWN_MAX` bad ones."""

    def __init__(self, resolve: Resolve, clock: Clock) -> None:
        self._resolve = resolve
        self._clock = clock
        self._known: BoundedCache[str, _Holder] = BoundedCache(KNOWN_MAX, KNOWN_FOR)
        self._unknown: BoundedCache[str, bool] = BoundedCache(UNKNOWN_MAX, UNKNOWN_FOR)
        self._lookups: dict[str, _Lookup] = {}

    async def identify(self, key: str) -> Identity:
        """Who holds `key`.

        Raises:
            Unauthenticated: malformed, unknown, foreign, revoked or expired; all alike.
            Unavailable: keys can't say, or `LOOKUPS_MAX` questions wait already.
        """
        sha256 = key_sha256(key)
        now = self._clock.now()
        holder = self._known.get(sha256, now)
        # Only a well-formed key is looked up and remembered, so garbage evicts nothing.
        if holder is None and well_formed(key) and not self._unknown.get(sha256, now):
            holder = await self._looked_up(sha256)
        if holder is None or not holder.facts.alive_at(self._clock.now()):
            raise invalid_key()
        return holder.identity

    async def hear(self, envelope: Envelope) -> None:
        """Forget the key of a `KeyRevoked`, also where it is being looked up right now."""
        key_id = KeyRevoked.model_validate(envelope.data).key_id
        self._known.forget(lambda holder: holder.facts.key_id == key_id)
        for lookup in self._lookups.values():
            lookup.revoked.add(key_id)

    def forget_all(self) -> None:
        """Revocations may have been missed: every key is looked up anew, and what is being looked
        up right now is not remembered."""
        self._known.forget(lambda _: True)
        for lookup in self._lookups.values():
            lookup.remembered = False

    async def _looked_up(self, sha256: str) -> _Holder | None:
        lookup = self._lookups.get(sha256)
        if lookup is None or lookup.task is None:
            if len(self._lookups) >= LOOKUPS_MAX:
                raise Unavailable("too_busy", "Too many keys are being checked.", retry_after_s=1)
            lookup = self._lookups[sha256] = _Lookup()
            lookup.task = asyncio.create_task(self._look_up(sha256, lookup))
            lookup.task.add_done_callback(_seen)
        # Shielded: who asked first may leave, the others still wait for the answer.
        return await asyncio.shield(lookup.task)

    async def _look_up(self, sha256: str, lookup: _Lookup) -> _Holder | None:
        asked_at = self._clock.now()
        try:
            facts = await self._resolve(sha256)
            if facts is None or not facts.active or facts.key_id in lookup.revoked:
                self._unknown.put(sha256, True, asked_at)  # noqa: FBT003 - the value of a set
                return None
            holder = _Holder(facts, facts.identity())
            if lookup.remembered:
                self._known.put(sha256, holder, asked_at)
            return holder
        finally:
            del self._lookups[sha256]


def _seen(task: "asyncio.Task[_Holder | None]") -> None:
    """Take the failure of a lookup that nobody waits for any more; who waits sees it anyway."""
    if not task.cancelled():
        task.exception()
