"""The edge as an ASGI app: request id, path, route, credential, scope, and on to the service.

It holds no body and knows no service beyond its name in the table.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from kernel.context import Origin
from kernel.errors import Error, Forbidden, Malformed, NotFound, Unauthenticated, Unavailable
from kernel.http.client import ADDRESS_HEADER, AGENT_HEADER, Client
from kernel.http.identity import HEADER, Identity
from kernel.rates import RateClass
from kernel.telemetry.requests import ServedRequest
from services.gateway.adapters.client_address import Network, client_address
from services.gateway.adapters.key_uses import KeyUses
from services.gateway.adapters.request_headers import Header, RequestHeaders
from services.gateway.api.authentication import Authority
from services.gateway.api.dead_letters import DeadLetters
from services.gateway.api.exchange import REQUEST_ID, Exchange, body_too_large
from services.gateway.api.limiting import Limiting
from services.gateway.api.matching import RouteTable
from services.gateway.api.page import Page
from services.gateway.api.pages import Pages
from services.gateway.api.paths import encoded, normal_form
from services.gateway.api.refusals import BrokeOff
from services.gateway.api.routes import DEAD_LETTERS_PATH, FILES_PATH, GATEWAY, Route
from services.gateway.api.translating import ClientLeft, Refused, translated, whole_body
from services.gateway.surfaces import surface_of
from services.gateway.surfaces.translation import Asked, Ended, Translation

INTERNAL_TOKEN: Final = HEADER.encode("ascii")
CLIENT_ADDRESS: Final = ADDRESS_HEADER.encode("ascii")
CLIENT_AGENT: Final = AGENT_HEADER.encode("ascii")
LOGGED_PATH_MAX: Final = 200
ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz"})
GOING_AWAY: Final = 1001
_NAMES_A_FILE: Final = (
    FILES_PATH.encode(),
    FILES_PATH.removeprefix("/api").encode(),
)

_log = structlog.get_logger(__name__)


class InternalFault(Error):
    """A fault of the edge itself; the log knows which."""

    status = 500


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything from outside comes in here. `ready` false: nothing new is begun."""

    table: RouteTable
    authority: Authority
    upstreams: Mapping[str, ASGIApp]
    pages: Pages
    dead_letters: DeadLetters
    limiting: Limiting
    uses: KeyUses
    trusted_proxies: Sequence[Network]
    ready: Callable[[], bool]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await send({"type": "websocket.close", "code": GOING_AWAY})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        began_s = clock()
        headers = RequestHeaders(scope["headers"])
        request = ServedRequest(
            GATEWAY, scope["method"], headers.single(REQUEST_ID), headers.single(b"traceparent")
        )
        exchange = Exchange(scope["method"], request.origin.correlation_id, receive, send)
        with request:
            try:
                await self._answer(scope, headers, request, exchange)
            finally:
                request.status = exchange.status
                _log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"][:LOGGED_PATH_MAX],
                    status=exchange.status,
                    duration_ms=round((clock() - began_s) * 1_000, 3),
                )

    async def _answer(
        self, scope: Scope, headers: RequestHeaders, request: ServedRequest, exchange: Exchange
    ) -> None:
        try:
            await self._pass(scope, headers, request, exchange)
        except Error as error:
            await exchange.refuse(error)
        except BrokeOff:
            raise
        except Exception:  # noqa: BLE001 - a fault of the edge is a plain 500 and a log line
            _log.exception("edge_failed")
            if exchange.status is not None:
                raise BrokeOff from None
            await exchange.refuse(
                InternalFault("internal_error", "Something went wrong on our side.")
            )

    async def _pass(
        self, scope: Scope, headers: RequestHeaders, request: ServedRequest, exchange: Exchange
    ) -> None:
        exchange.surface = surface_of(scope["path"])
        path = _path_of(scope)
        exchange.surface = surface_of(path)
        if path not in ALWAYS_ANSWERED and not self.ready():
            raise Unavailable("not_ready", "Starting or ending; ask again.", retry_after_s=1)
        route = self.table.find(scope["method"], path)
        request.route = route.path
        address = client_address(scope, headers, self.trusted_proxies)
        identity = await self._counted(route, headers, address, exchange)
        token = self.authority.admit(route, identity)
        client = Client(address, headers.agent())
        if identity is not None and identity.key_id is not None:
            self.uses.count(identity.key_id, client)
        if route.service == GATEWAY:
            await exchange.answer(*await self._own(scope, path, token))
            return
        exchange.body_bytes_max = route.body_bytes_max
        if (headers.content_length() or 0) > route.body_bytes_max:
            raise body_too_large(route.body_bytes_max)
        sent_on = _headers_sent_on(headers.forwarded, request.origin, token, client)
        native = _scope_sent_on(scope, path, sent_on)
        if route.translation is not None:
            await self._translate(route.service, route.translation, native, exchange)
        else:
            await self._forward(route, native, exchange)

    async def _counted(
        self, route: Route, headers: RequestHeaders, address: str, exchange: Exchange
    ) -> Identity | None:
        """Who asks, after the request was counted. A credential that is not good, or not from
        there, is counted for the address: guessing is no faster than asking without one, and who
        stole a key uses up nothing of its owner's."""
        try:
            identity = await self.authority.identify(route, headers, address)
        except (Unauthenticated, Forbidden):
            await self._count(RateClass.ANONYMOUS, None, address, exchange)
            raise
        await self._count(route.limit, identity, address, exchange)
        return identity

    async def _count(
        self,
        limit: RateClass | None,
        identity: Identity | None,
        address: str,
        exchange: Exchange,
    ) -> None:
        """Raises `RateLimited`."""
        counted = await self.limiting.count(limit, identity, address)
        exchange.limit_headers = counted.headers
        if counted.refusal is not None:
            raise counted.refusal

    async def _own(self, scope: Scope, path: str, token: bytes) -> Page:
        if path.startswith(DEAD_LETTERS_PATH):
            query = scope.get("query_string", b"")
            return await self.dead_letters.answer(scope["method"], path, query, token)
        return await self.pages.answer(path)

    async def _translate(
        self, service: str, translation: Translation, scope: Scope, exchange: Exchange
    ) -> None:
        """Ask `service` in its native words. Raises as `_forward`."""
        try:
            body = await whole_body(exchange.receive)
        except ClientLeft:
            await exchange.finish()
            return
        asked = Asked(scope["path"].rpartition("/")[2], scope["query_string"], body)
        try:
            page = await translated(translation, self.upstreams[service], asked, scope["headers"])
        except Refused as refused:
            await exchange.refuse_as(refused.answer, translation.fields)
        except Ended as ended:
            await exchange.tell(ended.fault)
        else:
            await exchange.answer(*page)

    async def _forward(self, route: Route, scope: Scope, exchange: Exchange) -> None:
        """Stream through the service's app.

        Raises `TooLarge`, `BadGateway`, the refusal of the way there (`Unavailable`, `TimedOut`),
        or `BrokeOff` when the answer can't be finished.
        """
        try:
            await self.upstreams[route.service](scope, exchange.receive, exchange.send)
        except Error as error:
            if exchange.status is None and not exchange.cut_short:
                _log.warning("upstream_refused", service=route.service, code=error.code)
                raise
            await exchange.broke()
        except Exception as error:  # noqa: BLE001 - whatever a service raises is no answer
            if not exchange.cut_short:  # a service may well raise when its client leaves
                _log.error("upstream_broke", service=route.service, exc_info=error)
            await exchange.broke()
        else:
            await exchange.finish()


def _path_of(scope: Scope) -> str:
    """In its normal form. Where it names a file, what has none is the name of no file.

    Raises `Malformed` or `NotFound`.
    """
    raw = _raw_path(scope)
    try:
        return normal_form(raw)
    except Malformed:
        if raw.startswith(_NAMES_A_FILE):
            raise NotFound("file_not_found", "There is no such file.") from None
        raise


def _raw_path(scope: Scope) -> bytes:
    """The path as it was sent; a server that tells the decoded one alone is taken at its word."""
    raw: bytes | None = scope.get("raw_path")
    return encoded(scope["path"]) if raw is None else raw.partition(b"?")[0]


def _headers_sent_on(
    forwarded: list[Header], origin: Origin, internal_token: bytes, client: Client
) -> list[Header]:
    forwarded.append((REQUEST_ID, origin.correlation_id.encode("ascii")))
    if origin.traceparent is not None:
        forwarded.append((b"traceparent", origin.traceparent.encode("ascii")))
    forwarded.append((INTERNAL_TOKEN, internal_token))
    if client.address:
        forwarded.append((CLIENT_ADDRESS, client.address.encode("ascii")))
    if client.agent:
        forwarded.append((CLIENT_AGENT, client.agent.encode("ascii")))
    return forwarded


def _scope_sent_on(scope: Scope, path: str, headers: list[Header]) -> Scope:
    """A scope of its own: the authorised path, the headers let through, no server extensions."""
    return {
        "type": "http",
        "asgi": scope["asgi"],
        "http_version": scope.get("http_version", "1.1"),
        "method": scope["method"],
        "scheme": scope.get("scheme", "http"),
        "path": path,
        "raw_path": encoded(path),
        "root_path": "",
        "query_string": scope.get("query_string", b""),
        "headers": headers,
        "client": scope.get("client"),
        "server": scope.get("server"),
    }


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan protocol: the runtime starts and ends services, so there is nothing to do."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
