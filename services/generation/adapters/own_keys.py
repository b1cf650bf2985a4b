"""Users' own keys of vendors, asked from keys; held in memory for a moment, and nowhere else."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from kernel.cache import BoundedCache
from kernel.clock import Clock
from kernel.errors import Unavailable
from kernel.http.peer import Peer

PATH: Final = "/internal/provider-keys/resolve"
KNOWN_MAX: Final = 1_000
KNOWN_FOR: Final = timedelta(seconds=30)
"""How long a key may still be used after its user has taken it away."""
_NOT_FOUND: Final = 404

_log = structlog.get_logger(__name__)


class _Resolved(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    api_key: str


class OwnKeys:
    def __init__(self, keys: Peer, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._known: BoundedCache[tuple[UUID, str], str] = BoundedCache(KNOWN_MAX, KNOWN_FOR)

    async def has(self, user_id: UUID, provider: str) -> bool:
        """Whether the user has a key of the provider now: a price depends on it, so what was true a
        moment ago will not do. Raises `Unavailable`."""
        return await self._asked(user_id, provider) is not None

    async def key(self, user_id: UUID, provider: str) -> str | None:
        """The key, as it was at most `KNOWN_FOR` ago. Raises `Unavailable`."""
        known = self._known.get((user_id, provider), self._clock.now())
        return known or await self._asked(user_id, provider)

    async def aclose(self) -> None:
        await self._keys.aclose()

    async def _asked(self, user_id: UUID, provider: str) -> str | None:
        now = self._clock.now()
        answer = await self._keys.ask(PATH, {"user_id": str(user_id), "provider": provider})
        if answer.status_code == _NOT_FOUND:
            return None
        try:
            api_key = _Resolved.model_validate_json(answer.content).api_key
        except ValidationError:  # nor anything that keys refused, which it never should
            _log.error("provider_key_unreadable", status=answer.status_code)
            raise Unavailable("unavailable", "Not now; ask again.", retry_after_s=1) from None
        self._known.put((user_id, provider), api_key, now)
        return api_key
