"""Says again what was said before: any message of the history, to each inbox that heard it."""

from datetime import timedelta
from typing import Final

import aio_pika
import asyncpg

from contracts.envelope import Envelope
from contracts.events import EVENTS
from kernel.bus.amqp import PERSISTENT, body_of, properties_of
from kernel.bus.topology import Topology
from kernel.codec import EventCodec
from kernel.context import Origin
from kernel.sql import _prepare_connection
from kernel.unit import Recorded
from tests.campaign.final_reads import HISTORIES

TIMEOUT_S: Final = 5.0


async def repeat(
    dsn: str, url: str, topology: Topology, *, older_than: timedelta, count: int
) -> int:
    """The latest `count` messages of each service that are older than that; how many were sent."""
    envelopes = await _said(dsn, older_than, count)
    connection = await aio_pika.connect(url, timeout=TIMEOUT_S)
    sent = 0
    async with connection:
        channel = await (await connection.channel()).get_underlay_channel()
        for envelope in envelopes:
            for consumer in EVENTS[envelope.type].consumers:
                await channel.basic_publish(
                    body_of(envelope),
                    routing_key=topology.inbox(consumer),
                    properties=properties_of(envelope, delivery_mode=PERSISTENT),
                    timeout=TIMEOUT_S,
                )
                sent += 1
    return sent


async def _said(dsn: str, older_than: timedelta, count: int) -> list[Envelope]:
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
    try:
        await _prepare_connection(connection)
        return [
            envelope
            for schema in HISTORIES
            for envelope in await _said_by(connection, schema, older_than, count)
        ]
    finally:
        await connection.close()


async def _said_by(
    connection: asyncpg.Connection, schema: str, older_than: timedelta, count: int
) -> list[Envelope]:
    history, announce = HISTORIES[schema]
    codec = EventCodec(history.aggregates)
    rows = await connection.fetch(
        "SELECT event_id, stream_id, version, type, schema_version, data, metadata, recorded_at"
        f" FROM {schema}.events WHERE recorded_at < clock_timestamp() - $1::interval"
        " ORDER BY position DESC LIMIT $2",
        older_than,
        count,
    )
    envelopes = []
    for row in rows:
        recorded = Recorded(
            row["event_id"],
            row["stream_id"],
            row["version"],
            codec.decode(row["type"], row["schema_version"], row["data"]),
            row["recorded_at"],
            Origin(**row["metadata"]),
        )
        public = announce(recorded)
        if public is not None:
            envelopes.append(
                Envelope.of(
                    public,
                    event_id=recorded.event_id,
                    subject=recorded.stream_id,
                    version=recorded.version,
                    time=recorded.at,
                    correlation_id=recorded.origin.correlation_id,
                    causation_id=recorded.origin.causation_id,
                    traceparent=recorded.origin.traceparent,
                )
            )
    return envelopes
