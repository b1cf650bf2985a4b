"""Serves an object over HTTP: whole or a part, or that it is known already (RFC 9110).

What a browser may show inline is shown without rights of its own; the rest is to be saved.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any, Final, Self

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from kernel.errors import Invalid, NotFound
from kernel.http import problem
from kernel.objects import ObjectChunks, ObjectStore, StoredObject

PARTS: Final[dict[int | str, dict[str, Any]]] = {
    206: {"description": "The part asked for"},
    304: {"description": "Known already"},
    416: {"description": "There is no such part"},
}
_SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Accept-Ranges": "bytes",
}
_SHOWN_INLINE: Final = frozenset({"image", "video", "audio"})
# Several ranges at once are answered with the whole, which RFC 9110 (14.2) leaves to the server.
_ONE_RANGE: Final = re.compile(
    r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `first` to `last`, both included (None: the end); `whole` where no part is asked."""

    first: int = 0
    last: int | None = None
    whole: bool = True

    @classmethod
    def wanted(cls, request: Request, etag: str, size_bytes: int) -> Self:
        """The whole for no range, one that can't be read, or one of another version."""
        asked = _ONE_RANGE.fullmatch(request.headers.get("range", "").strip())
        if asked is None or request.headers.get("if-range") not in {None, etag}:
            return cls()
        if asked["suffix"]:
            return cls(max(0, size_bytes - int(asked["suffix"])), None, whole=False)
        first, last = int(asked["first"]), int(asked["last"]) if asked["last"] else None
        return cls() if last is not None and last < first else cls(first, last, whole=False)

    def length_bytes(self, size_bytes: int) -> int:
        """How much of it an object of that size has."""
        end = size_bytes if self.last is None else min(self.last + 1, size_bytes)
        return max(0, end - self.first)


class ObjectResponse(StreamingResponse):
    """What is open of an object; closed however the answer ends."""

    def __init__(self, chunks: ObjectChunks, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(chunks, status_code, headers, chunks.stored.content_type)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._chunks:
            await super().__call__(scope, receive, send)


async def served(
    request: Request,
    objects: ObjectStore,
    key: str,
    etag_of: Callable[[StoredObject], str],
    headers: dict[str, str],
) -> Response:
    """The answer to a GET or HEAD for the object. Raises NotFound (`file_not_found`)."""
    try:
        stored = await objects.stat(key)
        etag = etag_of(stored)
        headers = {**_SAFE_HEADERS, "ETag": etag, **headers}
        if _is_known(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        part = Part.wanted(request, etag, stored.size_bytes)
        if not part.whole and part.length_bytes(stored.size_bytes) == 0:
            return _no_such_part(stored.size_bytes)
        status = 200 if part.whole else 206
        if request.method == "HEAD":
            described = _described(stored, part)
            return Response(None, status, headers | described, stored.content_type)
        chunks = await objects.open(key, part.first, part.last)
    except (NotFound, Invalid):
        raise no_such_file() from None
    return ObjectResponse(chunks, status, headers | _described(chunks.stored, part))


def no_such_file() -> NotFound:
    """There is none, it is another's, or its key is none."""
    return NotFound("file_not_found", "There is no such file.")


def _described(stored: StoredObject, part: Part) -> dict[str, str]:
    name = stored.key.rpartition("/")[2]
    kind = stored.content_type.partition("/")[0]
    disposition = "inline" if kind in _SHOWN_INLINE else "attachment"
    size_bytes = stored.size_bytes
    length_bytes = part.length_bytes(size_bytes)
    described = {
        "Content-Length": str(length_bytes),
        "Content-Disposition": f'{disposition}; filename="{name}"',
        "Last-Modified": format_datetime(stored.modified_at, usegmt=True),
    }
    if not part.whole:
        end = part.first + length_bytes
        described["Content-Range"] = f"bytes {part.first}-{end - 1}/{size_bytes}"
    return described


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110, 13.1.2: compared weakly; `*` is any."""
    if if_none_match is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in {"*", etag} for tag in tags)


def _no_such_part(size_bytes: int) -> Response:
    return problem(
        416,
        "range_not_satisfiable",
        "The file has no such part.",
        {"size": size_bytes},
        Content_Range=f"bytes */{size_bytes}",
    )
