"""A service in another process, asked over HTTP/1.1 keep-alive: to its callers an ASGI app.

It streams both ways and holds no body. What a client sent is never sent twice, except a GET or HEAD
without a body; only where no connection was had at all is another replica tried with the rest.
It costs about 0.13 ms of processor time a request; 0.1 ms of them are aiohttp's.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)
from starlette.types import Receive, Scope, Send

from kernel.errors import Error, Malformed, Unavailable
from services.gateway.adapters.asking import Asking, Body
from services.gateway.adapters.replicas import AWAY_FOR_S, Replica, Replicas
from services.gateway.adapters.request_headers import end_to_end

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 150.0
"""Of silence, while it is the service's turn: a `wait` lasts up to 120 s."""
REQUESTS_AT_ONCE_MAX: Final = 1_024
"""For each service; each has a connection of its own."""
STREAMS_AT_ONCE_MAX: Final = 4_096
"""Of events, which may go on for as long as a task does: they leave other requests their room."""
EVENT_STREAM: Final = "text/event-stream"
KEEP_ALIVE_S: Final = 3.0
"""Less than a server keeps an idle connection (uvicorn: 5 s): else a request may meet its end."""
HEADER_BYTES_MAX: Final = 16_384
HEADERS_MAX: Final = 128
BUFFER_BYTES: Final = 65_536
"""Of an answer whose client reads slowly; twice that is held before the service must wait."""
_NO_CONNECTION: Final = (ClientConnectorError, ConnectionTimeoutError)
_BROKEN_CONNECTION: Final = (ClientOSError, ServerDisconnectedError)
_REPEATABLE: Final = frozenset({"GET", "HEAD"})

_log = structlog.get_logger(__name__)


class TimedOut(Error):
    """A service was reached and stays silent; whether it does what was asked is not known."""

    status = 504

    def __init__(self) -> None:
        super().__init__("timed_out", "A service behind this address did not answer in time.")


class UpstreamBroke(Exception):
    """A service was reached and failed to answer. Its words hold no address."""


class _Unanswered(Exception):
    """The connection ended before a byte of an answer."""


class _Request(NamedTuple):
    method: str
    raw_path: str
    query: str
    headers: list[tuple[str, str]]
    body: Body

    @property
    def repeatable(self) -> bool:
        return self.body is None and self.method in _REPEATABLE


class HttpUpstream:
    """The service `name` at `base_urls` (`http(s)://host:port`). Made where a loop runs."""

    def __init__(
        self,
        name: str,
        base_urls: Sequence[str],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        away_for_s: float = AWAY_FOR_S,
        requests_at_once_max: int = REQUESTS_AT_ONCE_MAX,
        streams_at_once_max: int = STREAMS_AT_ONCE_MAX,
    ) -> None:
        self.name = name
        self._replicas = Replicas(base_urls, away_for_s)
        self._answer_timeout_s = answer_timeout_s
        self._at_once_max = requests_at_once_max
        self._at_once = 0
        self._streams_max = streams_at_once_max
        self._streams: set[asyncio.Timeout] = set()
        self._ending = False
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=ClientTimeout(
                total=None, connect=connect_timeout_s, sock_read=answer_timeout_s
            ),
            middlewares=(_once,),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            auto_decompress=False,
            read_bufsize=BUFFER_BYTES,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )

    def end(self) -> None:
        """The streams of events end here, as if the service had ended them: their clients come back
        to another gateway, and miss nothing."""
        self._ending = True
        for limit in self._streams:
            limit.reschedule(asyncio.get_running_loop().time())

    async def aclose(self) -> None:
        await self._session.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request and its answer on; returns quietly when the client has left.

        Raises:
            Unavailable: no replica takes a connection, or too many requests are on their way.
            TimedOut: nothing came for `answer_timeout_s`, perhaps in the middle of the answer.
            Malformed: a header or the query is no UTF-8 text.
            UpstreamBroke: it failed before or in the middle of the answer.
        """
        if self._at_once >= self._at_once_max:
            raise Unavailable("too_busy", "Too many requests are waiting.", retry_after_s=1)
        self._at_once += 1
        asking = Asking(receive, self._answer_timeout_s)
        try:
            async with asking.limit:
                await self._pass(_request_of(scope, await asking.body()), send)
        except Exception as error:  # noqa: BLE001 - whatever it is ends with a client that left
            if not asking.left:
                raise self._told(error) from None
        finally:
            asking.forget()
            self._at_once -= 1

    def _told(self, error: Exception) -> Exception:
        """What its callers are told; aiohttp's own words may hold a signed link."""
        if isinstance(error, TimeoutError):
            return TimedOut()
        if isinstance(error, ClientError | _Unanswered):
            return UpstreamBroke(f"{self.name}: {type(error).__name__}")
        return error

    async def _pass(self, request: _Request, send: Send) -> None:
        response = await self._answered(request)
        is_stream = response.content_type == EVENT_STREAM
        try:
            if is_stream:
                self._require_room_for_a_stream()
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status,
                    "headers": end_to_end(response.raw_headers),
                }
            )
            await (self._pass_stream if is_stream else _pass_whole)(response, send)
        except BaseException:
            response.close()
            raise

    def _require_room_for_a_stream(self) -> None:
        if len(self._streams) >= self._streams_max:
            raise Unavailable("too_busy", "Too many streams are open.", retry_after_s=5)

    async def _pass_stream(self, response: ClientResponse, send: Send) -> None:
        """Until it ends, or we do. It is counted by itself."""
        limit = asyncio.timeout(0 if self._ending else None)
        self._streams.add(limit)
        self._at_once -= 1
        try:
            async with limit:
                await _pass_whole(response, send)
        except TimeoutError:
            if not limit.expired():
                raise
            response.close()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._at_once += 1
            self._streams.discard(limit)

    async def _answered(self, request: _Request) -> ClientResponse:
        """The head of the answer. A connection that was kept may have ended unnoticed, so what is
        repeatable is asked once more, of the next replica."""
        try:
            return await self._reached(request)
        except _Unanswered:
            if not request.repeatable:
                raise
        return await self._reached(request)

    async def _reached(self, request: _Request) -> ClientResponse:
        clock = asyncio.get_running_loop().time
        for replica in self._replicas.in_turn(clock()):
            try:
                response = await self._asked(replica, request)
            except _NO_CONNECTION as error:
                self._replicas.away(replica, clock())
                _log.warning(
                    "replica_away",
                    service=self.name,
                    replica=replica.authority,
                    error=type(error).__name__,
                )
            else:
                self._replicas.back(replica)
                return response
        raise Unavailable("service_unavailable", "Not now; ask again.", retry_after_s=1)

    async def _asked(self, replica: Replica, request: _Request) -> ClientResponse:
        return await self._session.request(
            request.method,
            replica.url(request.raw_path, request.query),
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
        )


async def _pass_whole(response: ClientResponse, send: Send) -> None:
    more = True
    while more:
        chunk = await response.content.readany()
        more = not response.content.at_eof()
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keeps aiohttp from repeating what it takes for idempotent: it knows PUT and DELETE as such.

    Its session does so for these errors alone, and raises what it does not know.
    """
    try:
        return await handler(request)
    except _NO_CONNECTION:
        raise
    except _BROKEN_CONNECTION as error:
        raise _Unanswered(type(error).__name__) from None


def _request_of(scope: Scope, body: Body) -> _Request:
    return _Request(
        method=scope["method"],
        raw_path=scope["raw_path"].decode("ascii"),
        query=_text(scope["query_string"]),
        headers=[
            (name.decode("latin-1"), _text(value))
            for name, value in end_to_end(scope["headers"])
            if name != b"host"
        ],
        body=body,
    )


def _text(value: bytes) -> str:
    """What aiohttp writes as the same bytes: it encodes as UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("malformed_request", "Headers and query must be UTF-8.") from None
