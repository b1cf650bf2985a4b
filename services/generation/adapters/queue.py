"""Where a task stands in its lane's queue, and how long that may take: an estimate, for who waits.

Counted as if every user in the lane had as much running: then each user's first job comes before
anybody's second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Final
from uuid import UUID

from kernel.clock import Clock
from kernel.sql import Database

COUNTED_MAX: Final = 2_000
"""Of a lane's waiting jobs; who stands further behind is said to be there."""
PACE_OVER_S: Final = 60

_PLACES: Final = """
    WITH mine AS (
        SELECT DISTINCT ON (task_id) task_id, job_id, lane FROM generation.provider_jobs
        WHERE task_id = ANY($1::uuid[]) AND state = 'waiting'
        ORDER BY task_id, next_look_at, job_id
    ), lanes AS (
        SELECT lane, (SELECT count(*) FROM (SELECT 1 FROM generation.provider_jobs AS job
            WHERE job.lane = found.lane AND asked_at > $2::timestamptz - $3::interval
            LIMIT $4) AS lately) AS pace
        FROM (SELECT DISTINCT lane FROM mine) AS found
    ), turns AS (
        SELECT lane, job_id, next_look_at, row_number() OVER (
            PARTITION BY lane, user_id ORDER BY next_look_at, job_id) AS turn
        FROM lanes CROSS JOIN LATERAL (
            SELECT user_id, job_id, next_look_at FROM generation.provider_jobs AS job
            WHERE state = 'waiting' AND job.lane = lanes.lane
            ORDER BY user_id, next_look_at LIMIT $4) AS waiting
    ), places AS (
        SELECT job_id, row_number() OVER (
            PARTITION BY lane ORDER BY turn, next_look_at, job_id)::integer AS place FROM turns
    )
    SELECT task_id, coalesce(place, $4::integer) AS place, pace
    FROM mine JOIN lanes USING (lane) LEFT JOIN places USING (job_id)"""


@dataclass(frozen=True, slots=True)
class Place:
    """`position` 1 is next; `wait_s` is None in a lane where nothing was begun lately."""

    position: int
    wait_s: int | None


class Queue:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def places(self, task_ids: Sequence[UUID]) -> Mapping[UUID, Place]:
        """Of those of the tasks that wait for their turn."""
        if not task_ids:
            return {}
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _PLACES,
                list(task_ids),
                self._clock.now(),
                timedelta(seconds=PACE_OVER_S),
                COUNTED_MAX,
            )
        return {row["task_id"]: _place(row["place"], row["pace"]) for row in rows}


def _place(position: int, pace: int) -> Place:
    return Place(position, ceil(position * PACE_OVER_S / pace) if pace else None)
