"""What credentials stand for, mostly from memory, and never a moment longer than they live.

Whatever ended is noted by its id, with its turn in the row of what was heard; what was asked before
that is not believed any more, be it remembered or still on its way. So an ending costs the same
however much is remembered, and nothing is searched for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, Generic, TypeVar
from uuid import UUID

from contracts.envelope import Envelope, PublicEvent
from kernel.bus import Bus
from kernel.cache import BoundedCache
from kernel.clock import Clock
from kernel.errors import Unavailable
from services.gateway.adapters.holder import Holder

KNOWN_FOR: Final = timedelta(seconds=30)
"""How long an ending may stay unheard of while the bus is away."""
UNKNOWN_MAX: Final = 10_000
UNKNOWN_FOR: Final = timedelta(seconds=5)
LOOKUPS_MAX: Final = 1_000
ENDED_MAX: Final = 10_000
"""Beyond it, what was asked before the oldest of them is not believed either."""
ASKED_AGAIN_MAX: Final = 3
"""How often a question is put, while what it asks for ends each time meanwhile."""

K = TypeVar("K", bound=Hashable)
Resolve = Callable[[K], Awaitable[Holder | None]]
"""Asks keys; raises `Unavailable`."""


class Ring(Generic[K]):
    """Credentials seen lately: at most `known_max` good and `UNKNOWN_MAX` bad ones."""

    def __init__(self, resolve: Resolve[K], clock: Clock, known_max: int) -> None:
        self._resolve = resolve
        self._clock = clock
        self._known: BoundedCache[K, Holder] = BoundedCache(known_max, KNOWN_FOR)
        self._unknown: BoundedCache[K, bool] = BoundedCache(UNKNOWN_MAX, UNKNOWN_FOR)
        self._lookups: dict[K, asyncio.Task[Holder | None]] = {}
        self._ended: OrderedDict[UUID, int] = OrderedDict()
        self._turn = 0
        self._believed_from = 0

    def __len__(self) -> int:
        """How many good ones are remembered."""
        return len(self._known)

    async def find(self, key: K) -> Holder | None:
        """Who acts by the credential `key`; None, alike for all that is not good.

        Raises `Unavailable` when keys can't say, or `LOOKUPS_MAX` questions wait already.
        """
        now = self._clock.now()
        known = self._known.get(key, now)
        if known is not None:
            if self._is_believed(known):
                return known if known.alive_at(now) else None
            self._known.drop(key)  # from now on it is like one that never was
        if self._unknown.get(key, now):
            return None
        holder = await self._looked_up(key)
        return holder if holder is not None and holder.alive_at(self._clock.now()) else None

    def listen(self, bus: Bus, ends: Mapping[type[PublicEvent], str]) -> None:
        """Forget what each event of `ends` is about: the id in the field that it names."""
        for event, field in ends.items():
            bus.listen(event, partial(self._hear, event, field), self.forget_all)

    def forget(self, ended: UUID) -> None:
        """Believe nothing about it (a key, a session, all of a user's) that was asked so far."""
        self._turn += 1
        self._ended[ended] = self._turn
        self._ended.move_to_end(ended)
        if len(self._ended) > ENDED_MAX:
            _, self._believed_from = self._ended.popitem(last=False)

    def forget_all(self) -> None:
        """Endings may have been missed."""
        self._turn += 1
        self._believed_from = self._turn
        self._ended.clear()
        self._known.clear()

    async def _hear(self, event: type[PublicEvent], field: str, envelope: Envelope) -> None:
        self.forget(getattr(event.model_validate(envelope.data), field))

    def _is_believed(self, holder: Holder) -> bool:
        if holder.turn == self._turn:
            return True  # nothing was heard since
        if holder.turn < self._believed_from:
            return False
        return all(self._ended.get(one, 0) <= holder.turn for one in holder.ids if one)

    async def _looked_up(self, key: K) -> Holder | None:
        lookup = self._lookups.get(key)
        if lookup is None:
            if len(self._lookups) >= LOOKUPS_MAX:
                raise Unavailable(
                    "too_busy", "Too many credentials are being checked.", retry_after_s=1
                )
            lookup = self._lookups[key] = asyncio.create_task(self._look_up(key))
            lookup.add_done_callback(_seen)
        # Shielded: who asked first may leave, the others still wait for the answer.
        return await asyncio.shield(lookup)

    async def _look_up(self, key: K) -> Holder | None:
        try:
            for _ in range(ASKED_AGAIN_MAX):
                asked_at, turn = self._clock.now(), self._turn
                holder = await self._resolve(key)
                if holder is None:
                    self._unknown.put(key, True, asked_at)  # noqa: FBT003 - the value of a set
                    return None
                holder.turn = turn
                if self._is_believed(holder):
                    self._known.put(key, holder, asked_at)
                    return holder
        finally:
            del self._lookups[key]
        raise Unavailable(
            "credentials_unavailable", "This can't be checked just now.", retry_after_s=1
        )


def _seen(task: "asyncio.Task[Holder | None]") -> None:
    """Take the failure of a lookup that nobody waits for any more; who waits sees it anyway."""
    if not task.cancelled():
        task.exception()
