"""Who can speak and be seen, as vendors list it: remembered for ten minutes, and told from memory
while it is asked for anew, so that only the first ever waits for a vendor."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import structlog

from kernel.clock import Clock
from kernel.errors import Unavailable, VendorFailed
from services.generation.adapters.providers import Avatar, Avatars, Refused, Voice, Voices
from services.generation.adapters.vendors import Vendors

FRESH_FOR: Final = timedelta(minutes=10)
AGAIN_AFTER: Final = timedelta(seconds=30)
"""After a vendor did not answer: meanwhile the old list is told."""
ASK_TIMEOUT_S: Final = 20.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass
class _List(Generic[T]):
    """`items` are None before the first answer; from `due_at` on it is asked for anew."""

    items: Sequence[T] | None
    due_at: datetime
    asking: asyncio.Task[None] | None = None


class VendorLists:
    """One list of each kind for each vendor, under the platform's key; there are few vendors."""

    def __init__(self, vendors: Vendors, clock: Clock) -> None:
        self._vendors = vendors
        self._clock = clock
        self._voices: dict[str, _List[Voice]] = {}
        self._avatars: dict[str, _List[Avatar]] = {}

    async def voices(self, provider: str) -> Sequence[Voice]:
        """Raises `Unavailable` without a key of the vendor, `VendorFailed` when it never answered
        yet, and does not now."""
        vendor = self._vendors.providers.get(provider)
        if not isinstance(vendor, Voices):
            raise _not_configured(provider)
        return await self._told(self._voices, provider, vendor.voices)

    async def avatars(self, provider: str) -> Sequence[Avatar]:
        """As `voices`."""
        vendor = self._vendors.providers.get(provider)
        if not isinstance(vendor, Avatars):
            raise _not_configured(provider)
        return await self._told(self._avatars, provider, vendor.avatars)

    async def aclose(self) -> None:
        lists: list[_List[Any]] = [*self._voices.values(), *self._avatars.values()]
        asking = [one.asking for one in lists if one.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _told(
        self,
        lists: dict[str, _List[T]],
        provider: str,
        ask: Callable[[], Awaitable[Sequence[T] | Refused]],
    ) -> Sequence[T]:
        known = lists.setdefault(provider, _List(None, self._clock.now()))
        if known.asking is None and known.due_at <= self._clock.now():
            known.asking = asyncio.create_task(self._ask(known, provider, ask))
        if known.items is None and known.asking is not None:
            await asyncio.shield(known.asking)
        if known.items is None:
            raise VendorFailed("vendor_failed", "The vendor does not answer; try again later.")
        return known.items

    async def _ask(
        self,
        known: _List[T],
        provider: str,
        ask: Callable[[], Awaitable[Sequence[T] | Refused]],
    ) -> None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answer = await ask()
        except TimeoutError:
            answer = None
        finally:
            known.asking = None
        if answer is None or isinstance(answer, Refused):
            fault = "timeout" if answer is None else answer.fault.value
            _log.warning("list_not_answered", provider=provider, fault=fault)
            # Who has never had a list asks again at once; an old list lives on for a while.
            known.due_at = self._clock.now() + (AGAIN_AFTER if known.items else timedelta())
        else:
            known.items, known.due_at = answer, self._clock.now() + FRESH_FOR


def _not_configured(provider: str) -> Unavailable:
    return Unavailable("provider_not_configured", f"No key of {provider} is here.")
