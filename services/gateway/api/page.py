"""A whole answer of the gateway itself."""

from typing import NamedTuple

from services.gateway.adapters.request_headers import Header


class Page(NamedTuple):
    status: int
    content_type: bytes
    body: bytes
    headers: tuple[Header, ...] = ()
