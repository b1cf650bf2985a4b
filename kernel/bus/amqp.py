"""An envelope as an AMQP 0-9-1 message, and back: attributes in properties and headers, the body is
`data` alone. Header names follow CloudEvents' binding for AMQP (`cloudEvents:<attribute>`)."""

import base64
from datetime import timedelta
from typing import Any, Final

import orjson
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from contracts.envelope import Envelope
from kernel.clock import SystemClock, new_id

CONTENT_TYPE: Final = "application/json"
PERSISTENT: Final = 2
TRANSIENT: Final = 1
SENDER: Final = "smartspec-sender"
"""Which process sent it, so that it need not listen to itself."""
NUL: Final = b"\\u0000"
UUID_VERSION: Final = 7
AHEAD_MAX: Final = timedelta(days=1)
"""How far another machine's clock may be ahead; the inbox has room for more."""
UNREADABLE: Final = "Unreadable"
UNREADABLE_BYTES_MAX: Final = 65_536
_ATTRIBUTE: Final = "cloudEvents:"
_IN_HEADERS: Final = ("source", "subject", "schemaversion", "streamversion", "causationid")


def properties_of(envelope: Envelope, *, delivery_mode: int, sender: str = "") -> Basic.Properties:
    headers: dict[str, Any] = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:source": envelope.source,
        "cloudEvents:subject": envelope.subject,
        "cloudEvents:schemaversion": envelope.schemaversion,
        "cloudEvents:streamversion": envelope.streamversion,
        "cloudEvents:time": envelope.time.isoformat(),
    }
    if envelope.causationid is not None:
        headers["cloudEvents:causationid"] = envelope.causationid
    if envelope.traceparent is not None:
        headers["traceparent"] = envelope.traceparent
    if sender:
        headers[SENDER] = sender
    return Basic.Properties(
        content_type=CONTENT_TYPE,
        headers=headers,
        delivery_mode=delivery_mode,
        correlation_id=envelope.correlationid,
        message_id=str(envelope.id),
        timestamp=envelope.time,
        message_type=envelope.type,
    )


def body_of(envelope: Envelope) -> bytes:
    return orjson.dumps(envelope.data)


def sender_of(message: DeliveredMessage) -> str:
    return str((message.header.properties.headers or {}).get(SENDER, ""))


def envelope_of(message: DeliveredMessage) -> Envelope:
    """Raises ValueError for what is no message of ours, or could not be kept in a table."""
    properties = message.header.properties
    headers = properties.headers or {}
    if NUL in message.body or "\0" in f"{properties.message_type}{properties.correlation_id}":
        raise ValueError("PostgreSQL's text takes no NUL")
    envelope = Envelope.model_validate(
        {
            "id": properties.message_id,
            "type": properties.message_type,
            "time": headers.get(f"{_ATTRIBUTE}time"),
            "correlationid": properties.correlation_id,
            "traceparent": headers.get("traceparent"),
            "data": orjson.loads(message.body),
            **{name: headers.get(f"{_ATTRIBUTE}{name}") for name in _IN_HEADERS},
        }
    )
    latest_ms = (SystemClock().now() + AHEAD_MAX).timestamp() * 1_000
    if envelope.id.version != UUID_VERSION or envelope.id.int >> 80 > latest_ms:
        raise ValueError("an id is a UUIDv7 of the past")
    return envelope


def unreadable(message: DeliveredMessage) -> Envelope:
    """What nobody can read, in an envelope of our own, so that it is parked and not lost."""
    properties = message.header.properties
    body = message.body[:UNREADABLE_BYTES_MAX]
    return Envelope(
        id=new_id(),
        type=UNREADABLE,
        schemaversion=1,
        source="smartspec/bus",
        subject=f"{UNREADABLE.lower()}-{_plain(properties.message_id)}",
        streamversion=1,
        time=SystemClock().now(),
        correlationid=_plain(properties.correlation_id) or UNREADABLE.lower(),
        data={
            "message_type": _plain(properties.message_type),
            "body_base64": base64.b64encode(body).decode(),
            "body_bytes": len(message.body),
        },
    )


def _plain(text: str | None) -> str:
    return (text or "").replace("\0", "")
