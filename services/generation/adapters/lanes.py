"""Lanes: which waiting jobs are submitted now, so that no key is asked for more than its vendor
takes, and no user waits for another's queue.

What runs in a lane is counted in the database, so that it holds over all replicas. A claim takes
the lane for one short transaction, and marks its jobs as `submitting` before any question leaves:
a crash in between is seen as what it is, an attempt of unknown outcome, never silently repeated.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from kernel.sql import Connection, Database
from services.generation.adapters.breaker import Breakers
from services.generation.adapters.due_list import COLUMNS, LEASE, DueJob
from services.generation.domain.fairness import UNLIMITED, LaneLimits, Turn, shares

LANES_MAX: Final = 64
"""Tried in one claim; the others have their turn in the next."""
FULL_FOR: Final = timedelta(seconds=0.25)
"""How long a lane without room is left alone, unless a job of it ends here."""
WINDOW_SLACK: Final = timedelta(seconds=0.5)
"""A question may reach the vendor later than it left, and the next one sooner."""
RESTED_MAX: Final = 10_000

# One probe for each lane, not one row for each job: thousands may wait in one.
_WAITING_LANES: Final = """
    WITH RECURSIVE found AS (
        (SELECT lane FROM generation.provider_jobs WHERE state = 'waiting' ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT lane FROM generation.provider_jobs
            WHERE state = 'waiting' AND lane > found.lane ORDER BY lane LIMIT 1)
        FROM found WHERE found.lane IS NOT NULL
    )
    SELECT lane FROM found WHERE lane IS NOT NULL"""
_TAKE: Final = """
    SELECT lane FROM unnest($1::text[]) AS lane
    WHERE pg_try_advisory_xact_lock(hashtextextended('generation lane ' || lane, 0))"""
_LOADS: Final = """
    SELECT lane,
        (SELECT count(*) FROM generation.provider_jobs AS job WHERE job.lane = taken.lane
            AND state IN ('submitting', 'submitted', 'unknown')) AS running,
        (SELECT count(*) FROM generation.provider_jobs AS job WHERE job.lane = taken.lane
            AND asked_at > $1::timestamptz - taken.window_size) AS submitted
    FROM unnest($2::text[], $3::interval[]) AS taken (lane, window_size)"""
_TURNS: Final = """
    WITH RECURSIVE waiting AS (
        SELECT open.lane, (SELECT user_id FROM generation.provider_jobs AS job
            WHERE state = 'waiting' AND job.lane = open.lane ORDER BY user_id LIMIT 1) AS user_id
        FROM unnest($1::text[]) AS open (lane)
        UNION ALL
        SELECT waiting.lane, (SELECT user_id FROM generation.provider_jobs AS job
            WHERE state = 'waiting' AND job.lane = waiting.lane AND job.user_id > waiting.user_id
            ORDER BY user_id LIMIT 1)
        FROM waiting WHERE waiting.user_id IS NOT NULL
    )
    SELECT lane, user_id, due.jobs AS waiting, due.due_at,
        (SELECT count(*) FROM generation.provider_jobs AS job WHERE job.lane = waiting.lane
            AND job.user_id = waiting.user_id
            AND state IN ('submitting', 'submitted', 'unknown')) AS running,
        (SELECT max(asked_at) FROM generation.provider_jobs AS job WHERE job.lane = waiting.lane
            AND job.user_id = waiting.user_id) AS served_at
    FROM waiting CROSS JOIN LATERAL (
        SELECT count(*) AS jobs, min(next_look_at) AS due_at FROM (
            SELECT next_look_at FROM generation.provider_jobs AS job
            WHERE state = 'waiting' AND job.lane = waiting.lane AND job.user_id = waiting.user_id
                AND next_look_at <= $2 ORDER BY next_look_at LIMIT $3) AS first) AS due
    WHERE user_id IS NOT NULL AND due.jobs > 0"""
_BEGIN: Final = f"""
    UPDATE generation.provider_jobs SET state = 'submitting', asked_at = $1,
        lease_until = $1::timestamptz + $2
    WHERE job_id = ANY(ARRAY(
        SELECT job_id FROM unnest($3::text[], $4::uuid[], $5::integer[])
            AS share (lane, user_id, jobs) CROSS JOIN LATERAL (
            SELECT job_id FROM generation.provider_jobs AS job
            WHERE state = 'waiting' AND job.lane = share.lane AND job.user_id = share.user_id
                AND next_look_at <= $1 ORDER BY next_look_at LIMIT share.jobs
            FOR UPDATE SKIP LOCKED) AS next))
    RETURNING {COLUMNS}"""
_SET_ASIDE: Final = f"""
    UPDATE generation.provider_jobs AS job SET next_look_at = aside.until
    FROM (SELECT waiting.job_id, closed.until FROM unnest($2::text[], $3::timestamptz[])
        AS closed (lane, until) CROSS JOIN LATERAL (
        SELECT job_id FROM generation.provider_jobs AS job
        WHERE state = 'waiting' AND job.lane = closed.lane AND next_look_at <= $1
        LIMIT $4 FOR UPDATE SKIP LOCKED) AS waiting) AS aside
    WHERE job.job_id = aside.job_id
    RETURNING {", ".join(f"job.{name.strip()}" for name in COLUMNS.split(","))}"""


class Lanes:
    """`limits` are by provider; those of `boundless` providers, which the sandbox plays, are not
    held to under the platform's key."""

    def __init__(
        self,
        database: Database,
        limits: Mapping[str, LaneLimits],
        breakers: Breakers,
        boundless: frozenset[str] = frozenset(),
    ) -> None:
        self._database = database
        self._limits = limits
        self._breakers = breakers
        self._boundless = boundless
        self._full: dict[str, datetime] = {}
        self._resting: dict[str, datetime] = {}
        self._next = 0
        self._running: dict[str, int] = {}

    def limits_of(self, lane: str) -> LaneLimits:
        if lane in self._boundless:
            return UNLIMITED
        return self._limits.get(lane.partition(":")[0], UNLIMITED)

    def running(self, lane: str) -> int:
        """How many jobs of the lane have not ended, as far as this process knows."""
        return self._running.get(lane, 0)

    def freed(self, lane: str) -> bool:
        """A job of the lane has ended; whether somebody may have waited for that."""
        self._running[lane] = max(0, self._running.get(lane, 0) - 1)
        return self._full.pop(lane, None) is not None

    def rest(self, lane: str, until: datetime) -> None:
        """Its vendor takes nothing until then, as it says itself."""
        _put(self._resting, lane, until)

    @property
    def anybody_waits(self) -> bool:
        """For a lane that had no room."""
        return bool(self._full)

    async def claim(self, now: datetime, room: int) -> Sequence[DueJob]:
        """At most `room` waiting jobs that are to be submitted now, leased for `LEASE`."""
        async with self._database.connection() as connection:
            waiting = [row["lane"] for row in await connection.fetch(_WAITING_LANES)]
            self._full = _later_than(now, self._full)
            self._resting = _later_than(now, self._resting)
            closed = self._full.keys() | self._resting.keys()
            lanes = [
                lane
                for lane in waiting
                if lane not in closed and self._breakers.room(lane, now) != 0
            ]
            if not lanes:
                return ()
            async with connection.transaction():
                jobs = await self._claim(connection, self._some_of(lanes), now, room)
        for lane in {job.lane for job in jobs}:
            self._breakers.asked(lane, now)
        return jobs

    def _some_of(self, lanes: Sequence[str]) -> Sequence[str]:
        """As many as are tried at once, each time others."""
        first = self._next % len(lanes)
        self._next += LANES_MAX
        return [*lanes[first:], *lanes[:first]][:LANES_MAX]

    async def set_aside(self, now: datetime, limit: int) -> Sequence[DueJob]:
        """Waiting jobs of lanes whose breaker is open: they wait until it may close, unless the
        caller finds another provider for them."""
        closed = self._breakers.open_until(now)
        if not closed:
            return ()
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SET_ASIDE, now, list(closed), list(closed.values()), limit
            )
        return [DueJob(**row) for row in rows]

    async def _claim(
        self, connection: Connection, lanes: Sequence[str], now: datetime, room: int
    ) -> Sequence[DueJob]:
        taken = [row["lane"] for row in await connection.fetch(_TAKE, lanes)]
        rooms = await self._rooms(connection, taken, now, max(1, room // max(1, len(taken))))
        if not rooms:
            return ()
        turns: dict[str, list[Turn]] = {}
        for row in await connection.fetch(_TURNS, list(rooms), now, max(rooms.values())):
            turn = Turn(
                row["user_id"], row["waiting"], row["running"], row["served_at"], row["due_at"]
            )
            turns.setdefault(row["lane"], []).append(turn)
        begun: list[tuple[str, object, int]] = []
        for lane, of_lane in turns.items():
            share = shares(of_lane, min(rooms[lane], room))
            room -= sum(share.values())
            self._running[lane] += sum(share.values())
            begun += [(lane, user_id, jobs) for user_id, jobs in share.items()]
        if not begun:
            return ()
        columns = [list(column) for column in zip(*begun, strict=True)]
        rows = await connection.fetch(_BEGIN, now, LEASE, *columns)
        return [DueJob(**row) for row in rows]

    async def _rooms(
        self, connection: Connection, lanes: Sequence[str], now: datetime, share: int
    ) -> dict[str, int]:
        """How many jobs each lane has room for now, at most `share`; one without is left alone."""
        windows = [
            timedelta(seconds=limits.window_s) + WINDOW_SLACK
            for limits in map(self.limits_of, lanes)
        ]
        rooms: dict[str, int] = {}
        for row in await connection.fetch(_LOADS, now, list(lanes), windows):
            lane = row["lane"]
            self._running[lane] = row["running"]
            room = self.limits_of(lane).room(row["running"], row["submitted"])
            allowed = [one for one in (room, self._breakers.room(lane, now)) if one is not None]
            rooms[lane] = min([share, *allowed])
            if not rooms[lane]:
                _put(self._full, lane, now + FULL_FOR)
        return {lane: room for lane, room in rooms.items() if room}


def _put(lanes: dict[str, datetime], lane: str, until: datetime) -> None:
    if len(lanes) >= RESTED_MAX:
        lanes.clear()
    lanes[lane] = until


def _later_than(now: datetime, lanes: Mapping[str, datetime]) -> dict[str, datetime]:
    return {lane: until for lane, until in lanes.items() if until > now}
