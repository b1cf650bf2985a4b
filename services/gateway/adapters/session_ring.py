"""Who is signed in by an access token now, whatever the token itself says of role and plan."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from contracts.envelope import PublicEvent
from contracts.keys import SessionRevoked, UserDisabled, UserErased
from kernel.bus import Bus
from kernel.clock import Clock
from kernel.http.access_tokens import AccessClaims, invalid_token
from services.gateway.adapters.holder import Holder
from services.gateway.adapters.ring import Resolve, Ring

KNOWN_MAX: Final = 20_000
ENDS: Final[Mapping[type[PublicEvent], str]] = {
    SessionRevoked: "session_id",
    UserDisabled: "user_id",
    UserErased: "user_id",
}


class SessionRing:
    """Sessions seen lately: at most `KNOWN_MAX` open ones."""

    def __init__(self, resolve: Resolve[UUID], clock: Clock) -> None:
        self._sessions = Ring(resolve, clock, KNOWN_MAX)

    def listen(self, bus: Bus) -> None:
        self._sessions.listen(bus, ENDS)

    async def holder(self, claims: AccessClaims) -> Holder:
        """Who signed in.

        Raises:
            Unauthenticated: the session ended, never was, or is another person's.
            Unavailable: keys can't say, or too many questions wait already.
        """
        holder = await self._sessions.find(claims.session_id)
        if holder is None or holder.identity.user_id != claims.user_id:
            raise invalid_token()
        return holder
