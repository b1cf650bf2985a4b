"""Reads a request's headers once: what the edge needs, and what it lets through.

Only the names listed here reach a service; so no client can send an identity, and no credential
goes further than the edge.
"""

from collections.abc import Iterable
from typing import Final

from kernel.errors import Malformed

Header = tuple[bytes, bytes]

FORWARDED: Final = frozenset(
    {
        b"idempotency-key",
        b"content-type",
        b"content-length",
        b"accept",
        b"range",
        b"last-event-id",
        b"x-mfa-token",
    }
)
# RFC 9110, 7.6.1.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_FORWARDED_PREFIX: Final = b"if-"
_READ: Final = frozenset(
    {b"authorization", b"x-api-key", b"content-length", b"x-request-id", b"traceparent"}
)
LENGTH_DIGITS_MAX: Final = 19
"""Of `content-length`: 64 bits, far above any limit."""


class RequestHeaders:
    """`forwarded` are ready to send on; the rest is read by name."""

    __slots__ = ("_read", "forwarded")

    def __init__(self, headers: Iterable[Header]) -> None:
        self.forwarded: list[Header] = []
        self._read: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in _READ:
                self._read.setdefault(name, []).append(value)
            if name in FORWARDED or name.startswith(_FORWARDED_PREFIX):
                self.forwarded.append((name, value))

    def all(self, name: bytes) -> list[bytes]:
        """Every value of one of the names that the edge reads."""
        return self._read.get(name, [])

    def single(self, name: bytes) -> str | None:
        """The value of a header that came exactly once."""
        values = self.all(name)
        return values[0].decode("latin-1") if len(values) == 1 else None

    def content_length(self) -> int | None:
        """Bytes announced. Raises `Malformed` when it is repeated or no number."""
        values = self.all(b"content-length")
        if not values:
            return None
        if len(values) > 1 or not values[0].isdigit() or len(values[0]) > LENGTH_DIGITS_MAX:
            raise Malformed("malformed_request", "Content-Length must be one number.")
        return int(values[0])


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """In small letters, without those of one connection alone and those that it names so."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = HOP_BY_HOP.union(
        token.strip().lower()
        for name, value in lowered
        if name == b"connection"
        for token in value.split(b",")
    )
    return [header for header in lowered if header[0] not in dropped]
