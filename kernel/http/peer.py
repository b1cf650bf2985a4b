"""Another service of ours, asked by a service for itself; what clients ask comes by the gateway.

In one process its app is called directly, else one of its replicas over HTTP. A question changes
nothing, so it may be asked again: a connection that was kept may have ended unnoticed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any, Final

import httpx
import structlog
from starlette.types import ASGIApp

from kernel.context import current_origin
from kernel.errors import Unavailable
from kernel.http.identity import HEADER, ITSELF, InternalTokens

TIMEOUT_S: Final = 3.0
"""For an answer, however many replicas are tried for it."""
CONNECT_TIMEOUT_S: Final = 1.0
CONNECTIONS_MAX: Final = 32
"""To each replica."""
KEEP_ALIVE_S: Final = 3.0
"""Less than a server keeps an idle connection (uvicorn: 5 s)."""
TRIES_MIN: Final = 2

_log = structlog.get_logger(__name__)


class Peer:
    """The service `name`; `replicas` are clients, each of one of its replicas."""

    def __init__(
        self,
        name: str,
        replicas: Sequence[httpx.AsyncClient],
        tokens: InternalTokens,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.name = name
        self._replicas = replicas
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._next = 0

    @classmethod
    def here(cls, name: str, app: ASGIApp, tokens: InternalTokens) -> "Peer":
        """In this process."""
        transport = httpx.ASGITransport(app)
        return cls(name, [_client(f"http://{name}", transport)], tokens)

    @classmethod
    def at(
        cls,
        name: str,
        base_urls: Sequence[str],
        tokens: InternalTokens,
        timeout_s: float = TIMEOUT_S,
    ) -> "Peer":
        """In others. Raises ValueError without an address."""
        if not base_urls:
            raise ValueError(f"{name} needs an address")
        return cls(name, [_client(base_url) for base_url in base_urls], tokens, timeout_s)

    async def ask(self, path: str, question: Mapping[str, Any]) -> httpx.Response:
        """The answer to `question` (JSON, posted), which is no fault of the service. At most
        `timeout_s`. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._answered(path, question)
        except (httpx.TransportError, TimeoutError) as error:
            _log.warning("peer_away", peer=self.name, error=type(error).__name__)
            raise _unavailable() from None
        if answer.is_server_error:
            _log.warning("peer_failed", peer=self.name, status=answer.status_code)
            raise _unavailable()
        return answer

    async def aclose(self) -> None:
        for replica in self._replicas:
            await replica.aclose()

    async def _answered(self, path: str, question: Mapping[str, Any]) -> httpx.Response:
        count = len(self._replicas)
        first, self._next = self._next, (self._next + 1) % count
        tries = max(TRIES_MIN, count)
        for nth, replica in enumerate(islice(cycle(self._replicas), first, first + tries), 1):
            try:
                return await replica.post(path, json=question, headers=self._headers())
            except httpx.TransportError:
                if nth == tries:
                    raise
        raise AssertionError("the last try answers or raises")

    def _headers(self) -> dict[str, str]:
        origin = current_origin()
        headers = {HEADER: self._tokens.mint(ITSELF), "x-request-id": origin.correlation_id}
        return (
            headers if origin.traceparent is None else headers | {"traceparent": origin.traceparent}
        )


def _client(base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url,
        transport=transport,
        timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEP_ALIVE_S),
        trust_env=False,
    )


def _unavailable() -> Unavailable:
    return Unavailable("unavailable", "Not now; ask again.", retry_after_s=1)
