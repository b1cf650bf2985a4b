"""The heads of all streams that are neither accounts nor holds, by the domain's own fold."""

from collections.abc import Sequence
from typing import Any, Final

from kernel.codec import EventCodec
from kernel.messages import Aggregate
from kernel.sql import Connection
from services.credits.adapters.verification.rules import FAULTS_MAX, Fault

BATCH: Final = 1_000
TIMEOUT_S: Final = 3_600.0
SAYS: Final = "A head is the fold of its events"

_EVENTS: Final = """
    SELECT event.stream_id, event.version, event.type, event.schema_version, event.data,
        event.position, event.version = head.version AS is_last,
        CASE WHEN event.version = head.version THEN head.state END AS state
    FROM credits.events AS event JOIN credits.streams AS head USING (stream_id)
    WHERE event.stream_id NOT LIKE 'account-%' AND event.stream_id NOT LIKE 'hold-%'
    ORDER BY event.stream_id COLLATE "C", event.version"""


async def wrong_folds(
    connection: Connection, aggregates: Sequence[Aggregate[Any, Any]]
) -> list[Fault]:
    """One stream at a time. The connection is in a transaction."""
    codec, faults = EventCodec(aggregates), list[Fault]()
    stream_id, state = None, None
    async for row in connection.cursor(_EVENTS, prefetch=BATCH, timeout=TIMEOUT_S):
        try:
            aggregate = codec.aggregate_of_stream(row["stream_id"])
            if row["stream_id"] != stream_id:
                stream_id, state = row["stream_id"], aggregate.initial_state()
            event = codec.decode(row["type"], row["schema_version"], row["data"])
            state = aggregate.evolve(state, event)
        except (KeyError, ValueError) as error:
            found = f"{row['stream_id']}: version {row['version']}: {type(error).__name__}"
            faults.append(Fault("unreadable", f"An event can be read: {found}", row["position"]))
        else:
            if row["is_last"] and codec.encode_state(aggregate, state) != row["state"]:
                found = f"{SAYS}: {stream_id} is {row['state']}"
                faults.append(Fault("head_differs", found, row["position"]))
        if len(faults) >= FAULTS_MAX:
            break
    return faults
