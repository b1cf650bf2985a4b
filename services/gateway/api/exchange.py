"""One request and its answer as they pass: counted on the way up, cleaned on the way down.

Nothing is held in memory but a service's error, up to `ERROR_BYTES_MAX`, to give it its form.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.types import Message, Receive, Send

from kernel.errors import Error, TooLarge
from services.gateway.adapters.request_headers import HOP_BY_HOP, Header
from services.gateway.adapters.upstream import Answer
from services.gateway.api.errors import (
    CHALLENGE,
    JSON,
    NO_STORE,
    UNAUTHENTICATED,
    body_of,
    fault_in,
    fault_of,
    headers_of,
)
from services.gateway.api.refusals import BadGateway, BrokeOff
from services.gateway.surfaces import NATIVE, Fault, Surface, renamed

ERROR_BYTES_MAX: Final = 65_536
ERRORS_FROM: Final = 400
NO_CONTENT: Final = 204
CLIENT_LEFT: Final = 499
"""The status in the log of a request whose client did not wait; nothing is sent."""
REQUEST_ID: Final = b"x-request-id"
# What the edge's own server says, and what no client may see.
_DROPPED: Final = HOP_BY_HOP | {b"date", b"server", b"x-internal-token", REQUEST_ID}
_OF_THE_BODY: Final = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"x-content-type-options"}
)
_AS_THEY_ARE: Final[Mapping[str, str]] = {}
_GONE: Final[Message] = {"type": "http.disconnect"}


class Exchange:
    """`receive` and `send` are what a service is given; `status` is what the client got.

    `limit_headers` are on every answer, an error's too.
    """

    __slots__ = (
        "_disconnected",
        "_error",
        "_error_body",
        "_is_head",
        "_receive",
        "_received_bytes",
        "_request_id",
        "_send",
        "_too_large",
        "body_bytes_max",
        "limit_headers",
        "status",
        "surface",
    )

    def __init__(self, method: str, request_id: str, receive: Receive, send: Send) -> None:
        self._is_head = method == "HEAD"
        self._request_id = (REQUEST_ID, request_id.encode("ascii"))
        self._receive = receive
        self._send = send
        self._received_bytes = 0
        self._too_large = False
        self._disconnected = False
        self._error: Message | None = None
        self._error_body: bytearray | None = None
        self.body_bytes_max = 0
        self.status: int | None = None
        self.surface: Surface = NATIVE
        self.limit_headers: tuple[Header, ...] = ()

    @property
    def cut_short(self) -> bool:
        """Whether the service was told that its client has left."""
        return self._too_large or self._disconnected

    async def receive(self) -> Message:
        """The client's next message; a body over `body_bytes_max` reads like a client that left."""
        if self._too_large:
            return _GONE
        message = await self._receive()
        if message["type"] != "http.request":
            self._disconnected = True
            return message
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self.body_bytes_max:
            self._too_large = True
            return _GONE
        return message

    async def send(self, message: Message) -> None:
        """The service's next message, to the client; an error is kept back for `finish`."""
        if self._too_large and self.status is None:
            return
        if message["type"] != "http.response.start":
            await self._send_part(message)
        elif message["status"] >= ERRORS_FROM:
            self._error, self._error_body = message, bytearray()
        else:
            await self._start(message["status"], message.get("headers", ()))

    async def finish(self) -> None:
        """After the service: send what was kept back.

        Raises `TooLarge` for a body that went over its limit, `BadGateway` without an answer.
        """
        if self.status is not None:
            return
        if self._too_large:
            raise body_too_large(self.body_bytes_max)
        if self._disconnected:
            self.status = CLIENT_LEFT
        elif self._error is not None:
            await self._send_error(self._error)
        else:
            raise BadGateway

    async def broke(self) -> None:
        """The service raised. As `finish`; raises `BrokeOff` when the answer had begun."""
        if self.status is not None:
            raise BrokeOff
        self._error = None
        await self.finish()

    async def refuse(self, error: Error) -> None:
        """Answer with the edge's own refusal."""
        fault = fault_of(error)
        told = self.surface.status_of(fault)
        await self.answer(told, JSON, body_of(self.surface, fault), headers_of(error))

    async def refuse_as(self, said: Answer, fields: Mapping[str, str]) -> None:
        """Answer with a service's refusal that was held in memory; `fields` are the surface's names
        for those that it may be about."""
        self._error = {"status": said.status, "headers": said.headers}
        self._error_body = bytearray(said.body)
        await self._send_error(self._error, fields)

    async def tell(self, fault: Fault) -> None:
        """Answer with an error that is neither the edge's nor a service's."""
        told = self.surface.status_of(fault)
        await self.answer(told, JSON, body_of(self.surface, fault), (NO_STORE,))

    async def answer(
        self, status: int, content_type: bytes, body: bytes, headers: Iterable[Header] = ()
    ) -> None:
        """A whole answer of the edge itself."""
        about: list[Header] = []
        if status != NO_CONTENT:  # RFC 9110, 8.6: it has no length either
            about = [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode("ascii")),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._start(status, [*about, *headers])
        await self._send({"type": "http.response.body", "body": b"" if self._is_head else body})

    async def _start(self, status: int, headers: Iterable[Header]) -> None:
        kept = [header for header in headers if header[0].lower() not in _DROPPED]
        kept.append(self._request_id)
        kept.extend(self.limit_headers)
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": kept})

    async def _send_part(self, message: Message) -> None:
        if self._error is None:
            await self._send(message)
        elif self._error_body is not None:
            self._error_body += message.get("body", b"")
            if len(self._error_body) > ERROR_BYTES_MAX:
                self._error_body = None

    async def _send_error(self, start: Message, fields: Mapping[str, str] = _AS_THEY_ARE) -> None:
        """A service's error in the form of the surface; status and headers stay."""
        status = start["status"]
        given: list[Header] = list(start.get("headers", ()))
        headers = [header for header in given if header[0].lower() not in _OF_THE_BODY]
        names = {name.lower() for name, _ in headers}
        if status == UNAUTHENTICATED and b"www-authenticate" not in names:
            headers.append((b"www-authenticate", CHALLENGE))
        fault = renamed(fault_in(status, self._error_body or b""), fields)
        told = self.surface.status_of(fault)
        await self.answer(told, JSON, body_of(self.surface, fault), headers)


def body_too_large(body_bytes_max: int) -> TooLarge:
    return TooLarge(
        "too_large",
        f"The body may have {body_bytes_max} bytes.",
        {"body_bytes_max": body_bytes_max},
    )
