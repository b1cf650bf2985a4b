"""The envelope of every message, and what a public event declares of itself.

Attributes follow CloudEvents 1.0 (https://github.com/cloudevents/spec); `correlationid`,
`causationid`, `streamversion` and `schemaversion` are extension attributes. On AMQP they travel in
properties and headers, and the body is `data` alone.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict


class PublicEvent(BaseModel):
    """A fact that a service tells the others: frozen, changed by addition only.

    Subclasses declare their `owner` (the service that says it), the `consumers` whose durable
    inboxes must get it, and `listeners`: services whose every replica hears it as it happens
    (volatile, for caches and waiters). `stored` is False for what is broadcast only.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: ClassVar[str]
    schema_version: ClassVar[int] = 1
    consumers: ClassVar[tuple[str, ...]] = ()
    listeners: ClassVar[tuple[str, ...]] = ()
    stored: ClassVar[bool] = True

    @classmethod
    def type_name(cls) -> str:
        return cls.__name__

    @classmethod
    def routing_key(cls) -> str:
        """`credits.credits_reserved` for `CreditsReserved` of credits."""
        return f"{cls.owner}.{re.sub(r'(?<!^)(?=[A-Z])', '_', cls.__name__).lower()}"


class Envelope(BaseModel):
    """One message. `id` (UUIDv7) is the consumer's deduplication key; `subject` is the stream."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    type: str
    schemaversion: int
    source: str
    subject: str
    streamversion: int
    time: AwareDatetime
    correlationid: str
    causationid: str | None = None
    traceparent: str | None = None
    data: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        event: PublicEvent,
        *,
        event_id: UUID,
        subject: str,
        version: int,
        time: datetime,
        correlation_id: str,
        causation_id: str | None = None,
        traceparent: str | None = None,
    ) -> Self:
        """Wrap `event`; `subject` and `version` name its place in its owner's stream."""
        return cls(
            id=event_id,
            type=event.type_name(),
            schemaversion=event.schema_version,
            source=f"smartspec/{event.owner}",
            subject=subject,
            streamversion=version,
            time=time,
            correlationid=correlation_id,
            causationid=causation_id,
            traceparent=traceparent,
            data=event.model_dump(mode="json"),
        )
