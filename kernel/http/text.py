"""Refuses half a surrogate pair in a JSON body: JSON can write it (RFC 8259, 8.2), and no database,
hash or answer can take it."""

import json
from collections.abc import Iterator
from typing import Any, Final

from starlette.requests import Request

from kernel.errors import Invalid

_ESCAPES: Final = (b"\\ud", b"\\uD")


async def refuse_half_characters(request: Request) -> None:
    """Raises `Invalid` (`invalid_request`), naming the field. Other bodies are not read."""
    headers = request.headers
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return
    content_type = headers.get("content-type", "json")
    if "json" not in content_type:
        return
    body = await request.body()  # FastAPI has read it, and found that it is JSON
    if not any(escape in body for escape in _ESCAPES):
        return
    for field, text in _texts(json.loads(body)):
        if not _is_text(text):
            fault = {"field": field, "message": "holds half a character"}
            raise Invalid("invalid_request", f"{field}: {fault['message']}", {"fields": [fault]})


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text of a document with its place (`options.0.name`), names of fields too."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, str):
            yield place or "body", found
        elif isinstance(found, dict):
            for name, inner in found.items():
                yield place or "body", name
                waiting.append((f"{place}.{name}" if place else name, inner))
        elif isinstance(found, list):
            waiting.extend((f"{place}.{nth}".strip("."), item) for nth, item in enumerate(found))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
