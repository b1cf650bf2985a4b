"""In place of keys, where a test is of generation alone: what it says of users' own keys."""

from dataclasses import dataclass, field
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from kernel.http.identity import HEADER, SERVICE_ROLE
from kernel.http.peer import Peer
from kernel.service import Ground
from services.generation.adapters.own_keys import PATH, OwnKeys


@dataclass
class FakeKeys:
    """Knows the keys that it is given, unless it is `away`; counts what it is asked."""

    ground: Ground
    known: dict[tuple[UUID, str], str] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    @property
    def own_keys(self) -> OwnKeys:
        """As generation sees it, with a memory of its own."""
        return OwnKeys(Peer.here("keys", self, self.ground.internal_tokens), self.ground.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = self.ground.internal_tokens.read(request.headers.get(HEADER))
        assert (caller.role, scope["path"]) == (SERVICE_ROLE, PATH)
        question = await request.json()
        self.asked += 1
        api_key = self.known.get((UUID(question["user_id"]), question["provider"]))
        answer = JSONResponse({"error": "provider_key_not_found"}, 404)
        if self.away:
            answer = JSONResponse({"error": "unavailable"}, 503)
        elif api_key is not None:
            answer = JSONResponse({"api_key": api_key})
        await answer(scope, receive, send)
