"""The gateway's own questions to a service; clients' requests stream past it."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Scope

from services.gateway.adapters.request_headers import Header

FAILED: Final = 500


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: tuple[Header, ...] = ()


class AnswerTooLarge(Exception):
    """A service said more than was asked for."""


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: Sequence[Header] = (),
    body: bytes = b"",
    answer_bytes_max: int,
) -> Answer:
    """Ask `app`; the answer is held in memory. Raises `AnswerTooLarge` and what `app` raises."""
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    status = FAILED
    answered: tuple[Header, ...] = ()
    chunks: list[bytes] = []
    size_bytes = 0

    async def receive() -> Message:
        for message in requests:
            return message
        await asyncio.get_running_loop().create_future()  # the asker stays until the end
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status, answered, size_bytes
        if message["type"] == "http.response.start":
            status, answered = message["status"], tuple(message.get("headers", ()))
            return
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > answer_bytes_max:
            raise AnswerTooLarge(path)
        chunks.append(chunk)

    await app(_scope(method, path, query, headers), receive, send)
    return Answer(status, b"".join(chunks), answered)


def _scope(method: str, path: str, query: bytes, headers: Sequence[Header]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "root_path": "",
        "query_string": query,
        "headers": list(headers),
        "client": None,
        "server": None,
    }
