"""What happened to one hold, as history itself tells it."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from kernel.codec import EventCodec
from kernel.projections import recorded_of
from kernel.sql import Database
from kernel.unit import Recorded
from services.credits.domain import HOLD, HoldEvent

HISTORY_MAX: Final = 1_000
"""Most holds have two events, and one more for each refund."""

_HISTORY: Final = f"""
    SELECT event_id, stream_id, version, type, schema_version, data, metadata, recorded_at
    FROM credits.events WHERE stream_id = $1 ORDER BY version LIMIT {HISTORY_MAX}"""


async def history_of_hold(
    database: Database, codec: EventCodec, task_id: UUID
) -> Sequence[Recorded[HoldEvent]]:
    """Of the task's hold, in order; nothing before credits has heard of the task."""
    async with database.connection() as connection:
        rows = await connection.fetch(_HISTORY, HOLD.stream_id(task_id))
    return [recorded_of(row, codec) for row in rows]
