"""Answers no honest server gives: cut connections, endless bodies; and reading a bounded body."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from services.simulator.domain.scenarios import Scenario

CHUNK: Final = b"\0" * 65_536
SERVER_STATUSES: Final = range(500, 600)
ENDLESS_BYTES: Final = 64 * 1024**3
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


class BodyTooLarge(Exception):
    pass


class BodyMalformed(ValueError):
    pass


class Broken(Exception):
    """A request that is answered by no vendor's words: see `broken_answer`."""

    def __init__(self, fault: Scenario) -> None:
        super().__init__(fault.name)
        self.fault = fault


BROKEN: Final = frozenset({"connection_reset", "malformed_json", "server_error"})


async def json_body(request: Request, max_bytes: int) -> Any:
    """The body read as JSON. Raises `BodyTooLarge` or `BodyMalformed`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyMalformed("the body is not JSON") from error


def broken_answer(fault: Scenario) -> Response:
    """No answer, half an answer, or a proxy's word in the vendor's place."""
    match fault.name:
        case "malformed_json":
            return Response('{"code":200,"data":{"id":"5', media_type="application/json")
        case "server_error":
            return PlainTextResponse("Internal Server Error", server_status(fault))
        case _:
            return CutConnection()


def server_status(fault: Scenario) -> int:
    status = int(fault.number("status", 500))
    return status if status in SERVER_STATUSES else 500


class CutConnection(Response):
    """No answer: the connection is reset under the request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn hands out bound methods of the object that owns the connection; ASGI itself has
        # no word for this. Elsewhere the exception is all a client sees.
        del scope, send
        transport: asyncio.Transport | None  # uvloop's own is none by its class
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if transport is None:
            raise ConnectionResetError("the simulator cut this connection")
        with suppress(OSError):
            _reset_at_close(transport.get_extra_info("socket"))
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass  # what is left of the body; its end comes with the connection's


def _reset_at_close(shown: socket.socket) -> None:
    """RST in place of FIN. A loop may show a socket that refuses options: its twin takes them."""
    with socket.socket(fileno=os.dup(shown.fileno())) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless(max_bytes: int) -> Response:
    """A body that begins like a PNG and goes on for `max_bytes`, with no length announced."""

    async def chunks() -> AsyncIterator[bytes]:
        yield PNG_SIGNATURE
        sent = len(PNG_SIGNATURE)
        while sent < max_bytes:
            yield CHUNK[: max_bytes - sent]
            sent += len(CHUNK)
            await asyncio.sleep(0)  # or a client's leaving would never be heard

    return StreamingResponse(chunks(), media_type="image/png")
