"""Generation, as another service asks it about tasks: it says what a test has told it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from kernel.http.peer import Peer
from kernel.service import Ground


@dataclass
class FakeGeneration:
    """`answers` by path; a path without one is answered 503, as when it is away. `asked` are the
    questions that came."""

    ground: Ground
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        return Peer.here("generation", self, self.ground.internal_tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append((request.url.path, orjson.loads(await request.body())))
        answer = self.answers.get(request.url.path)
        response = JSONResponse(answer or {}, 200 if answer is not None else 503)
        await response(scope, receive, send)
