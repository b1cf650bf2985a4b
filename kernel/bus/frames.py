"""Frames of AMQP 0-9-1, made as bytes: what a publish and an ack are on the wire.

pamqp makes the same bytes from objects of each frame and property, at ten times the cost, which was
a sixth of a reservation. What is the same for all messages of a route is made once, by pamqp.
Section numbers are of the specification (https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf).
"""

import struct
from functools import lru_cache
from typing import Final

import pamqp.frame
from pamqp.commands import Basic

from contracts.envelope import Envelope
from kernel.bus.amqp import CONTENT_TYPE, PERSISTENT
from kernel.bus.topology import Route

ROUTES_MAX: Final = 1_024
HEADER_NAMES_MAX: Final = 16
SHORT_TEXT_BYTES_MAX: Final = 255

_HEADER: Final = 2
_BODY: Final = 3
_END: Final = b"\xce"
_FRAME: Final = struct.Struct(">BHI")
_ACK: Final = struct.Struct(">BHIHHQB")
_CONTENT: Final = struct.Struct(">HHQH")
_LENGTH: Final = struct.Struct(">I")
_INTEGER: Final = struct.Struct(">i")
_TIMESTAMP: Final = struct.Struct(">Q")
_BASIC: Final = 60
_BASIC_ACK: Final = 80
_ACK_BYTES: Final = 13
_PROPERTIES: Final = (
    1 << 15  # content type
    | 1 << 13  # headers
    | 1 << 12  # delivery mode
    | 1 << 10  # correlation id
    | 1 << 7  # message id
    | 1 << 6  # timestamp
    | 1 << 5  # type
)


def publish_frames(
    envelope: Envelope, body: bytes, route: Route, *, channel: int, body_frame_max: int
) -> bytes:
    """A whole publish of `envelope`, persistent; at most `body_frame_max` bytes of `body`, which
    must not be empty, are in one frame.

    Raises ValueError for an id that is too long for AMQP.
    """
    header = _content_header(envelope, len(body))
    parts = [_publish(route, channel), _frame(_HEADER, channel, header)]
    parts += [
        _frame(_BODY, channel, body[start : start + body_frame_max])
        for start in range(0, len(body), body_frame_max)
    ]
    return b"".join(parts)


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Acknowledge a delivery; with `multiple`, all before it too (1.8.3.13)."""
    return _ACK.pack(1, channel, _ACK_BYTES, _BASIC, _BASIC_ACK, tag, multiple) + _END


@lru_cache(maxsize=ROUTES_MAX)
def _publish(route: Route, channel: int) -> bytes:
    frame = Basic.Publish(
        exchange=route.exchange, routing_key=route.routing_key, mandatory=route.mandatory
    )
    return bytes(pamqp.frame.marshal(frame, channel))


def _content_header(envelope: Envelope, size: int) -> bytes:
    """The properties in the order of their flags (4.2.6.1)."""
    headers = [
        _text("cloudEvents:specversion", "1.0"),
        _text("cloudEvents:source", envelope.source),
        _text("cloudEvents:subject", envelope.subject),
        _number("cloudEvents:schemaversion", envelope.schemaversion),
        _number("cloudEvents:streamversion", envelope.streamversion),
        _text("cloudEvents:time", envelope.time.isoformat()),
    ]
    if envelope.causationid is not None:
        headers.append(_text("cloudEvents:causationid", envelope.causationid))
    if envelope.traceparent is not None:
        headers.append(_text("traceparent", envelope.traceparent))
    table = b"".join(headers)
    return b"".join(
        (
            _CONTENT.pack(_BASIC, 0, size, _PROPERTIES),
            _short(CONTENT_TYPE),
            _LENGTH.pack(len(table)),
            table,
            bytes((PERSISTENT,)),
            _short(envelope.correlationid),
            _short(str(envelope.id)),
            _TIMESTAMP.pack(int(envelope.time.timestamp())),
            _short(envelope.type),
        )
    )


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _END


def _text(name: str, value: str) -> bytes:
    encoded = value.encode()
    return _name(name) + b"S" + _LENGTH.pack(len(encoded)) + encoded


def _number(name: str, value: int) -> bytes:
    return _name(name) + b"I" + _INTEGER.pack(value)


@lru_cache(maxsize=HEADER_NAMES_MAX)
def _name(name: str) -> bytes:
    return _short(name)


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > SHORT_TEXT_BYTES_MAX:
        raise ValueError(f"{len(encoded)} bytes are too long for a short text of AMQP")
    return bytes((len(encoded),)) + encoded
