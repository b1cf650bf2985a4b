"""Which keys were used of late, by whom and how often: counted here, told to keys now and then.

No request waits for it, none fails by it, and no more than `USES_MAX` are held, however long keys
is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from kernel.clock import Clock
from kernel.errors import Unavailable
from kernel.http.client import Client
from services.gateway.adapters.keys_service import Use

TELL_EVERY_S: Final = 5.0
TOLD_AT_ONCE_MAX: Final = 1_000
"""As many as keys takes."""
USES_MAX: Final = 10_000
CLIENTS_MAX: Final = 20
"""Of one key, as many as keys remembers; so nobody fills this by being somebody new each time."""
LAST_TELL_TIMEOUT_S: Final = 1.0

Tell = Callable[[Sequence[Use]], Awaitable[None]]
"""Raises `Unavailable`."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Count:
    requests: int
    last_used_at: datetime


class KeyUses:
    """Of this process. A use that keys may have heard of is told again rather than lost."""

    def __init__(self, tell: Tell, clock: Clock, tell_every_s: float = TELL_EVERY_S) -> None:
        self._tell = tell
        self._clock = clock
        self._tell_every_s = tell_every_s
        self._clients: dict[UUID, dict[Client, _Count]] = {}
        self._size = 0
        self._passed_over = 0

    def __len__(self) -> int:
        """How many clients of keys are held."""
        return self._size

    def count(self, key_id: UUID, client: Client) -> None:
        """One more request was admitted with the key."""
        self._add(key_id, client, 1, self._clock.now())

    async def tell(self) -> None:
        """Tell keys; what it can't take now is kept for the next time."""
        uses = self._taken()
        told = 0
        try:
            while told < len(uses):
                await self._tell(uses[told : told + TOLD_AT_ONCE_MAX])
                told += TOLD_AT_ONCE_MAX
        except Unavailable:
            _log.warning("key_uses_kept", clients=len(uses) - told)
        finally:
            self._keep(uses[told:])

    async def run(self) -> None:
        """Tell every few seconds until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(self._tell_every_s)
                await self.tell()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_TELL_TIMEOUT_S):
                    await self.tell()

    def _add(self, key_id: UUID, client: Client, requests: int, used_at: datetime) -> None:
        clients = self._clients.get(key_id, {})
        count = clients.get(client)
        if count is not None:
            count.requests += requests
            count.last_used_at = max(count.last_used_at, used_at)
            return
        if len(clients) >= CLIENTS_MAX:
            del clients[next(iter(clients))]
        elif self._size >= USES_MAX:
            self._passed_over += 1
            return
        else:
            self._size += 1
        clients[client] = _Count(requests, used_at)
        self._clients[key_id] = clients

    def _taken(self) -> list[Use]:
        """All that is held, and is held no longer."""
        if self._passed_over:
            _log.warning("key_uses_passed_over", clients=self._passed_over)
        taken, self._clients, self._size, self._passed_over = self._clients, {}, 0, 0
        return [
            Use(key_id, client.address, client.agent, count.requests, count.last_used_at)
            for key_id, clients in taken.items()
            for client, count in clients.items()
        ]

    def _keep(self, uses: Iterable[Use]) -> None:
        for use in uses:
            client = Client(use.address, use.agent)
            self._add(use.key_id, client, use.requests, use.last_used_at)
