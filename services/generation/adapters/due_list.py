"""The due-list: which provider job is to be looked at when, and which task ends when at the latest.

Claims are short statements with a lease; nothing is locked while a provider is asked. Which jobs
are submitted is said by their lanes (`lanes.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from kernel.clock import new_id
from kernel.context import Origin
from kernel.sql import Database
from kernel.unit import Unit

DEADLINE_BATCH = 64
UNKNOWN_LIST_MAX = 1_000
LEASE = timedelta(seconds=60)

COLUMNS = (
    "job_id, task_id, output_index, attempt, provider, model, state, provider_job_id, looks,"
    " progress, request_id, traceparent, key_owner_id, lane, next_look_at,"
    " unknown_until, cancel_wanted"
)


@dataclass(frozen=True, slots=True)
class DueJob:
    """`state` is submitting, submitted, or unknown (its answer was lost; it is looked for until
    `unknown_until`).

    The provider is asked under the own key of `key_owner_id`, under the platform's for None; `lane`
    names provider and key. `cancel_wanted`: its vendor is still to be asked to stop.
    """

    job_id: UUID
    task_id: UUID
    output_index: int
    attempt: int
    provider: str
    model: str
    state: str
    provider_job_id: str | None
    looks: int
    progress: int
    request_id: str
    traceparent: str | None
    key_owner_id: UUID | None
    lane: str
    next_look_at: datetime
    unknown_until: datetime | None
    cancel_wanted: bool

    @property
    def origin(self) -> Origin:
        """The request that led here."""
        return Origin(self.request_id, None, self.traceparent)


@dataclass(frozen=True, slots=True)
class LookLater:
    """A job that goes on: how far it is (0-100), and when to look again."""

    job_id: UUID
    progress: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DueDeadline:
    task_id: UUID
    request_id: str
    traceparent: str | None

    @property
    def origin(self) -> Origin:
        """The request that led here."""
        return Origin(self.request_id, None, self.traceparent)


class DueList:
    """The tables `provider_jobs` and `task_deadlines` of generation."""

    def __init__(self, database: Database, unknown_for: timedelta) -> None:
        self._database = database
        self._unknown_for = unknown_for

    async def claim(self, now: datetime, limit: int) -> Sequence[DueJob]:
        """At most `limit` submitted or lost jobs that are to be looked at now, leased to the caller
        for `LEASE`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE generation.provider_jobs SET lease_until = $1::timestamptz + $2
                WHERE job_id = ANY(ARRAY(SELECT generation.due_jobs($1, $3)))
                RETURNING {COLUMNS}""",
                now,
                LEASE,
                limit,
            )
        return [DueJob(**row) for row in rows]

    async def doubt_lost_submits(self, now: datetime, *, all_leases_void: bool = False) -> None:
        """Jobs whose submitter died before it wrote the answer become `unknown`.

        With `all_leases_void` (no other process lives) every lease counts as run out.
        """
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE generation.provider_jobs SET state = 'unknown', lease_until = NULL,"
                " looks = 0, next_look_at = $1, unknown_until = $1::timestamptz + $2,"
                " error = 'submitter died'"
                " WHERE state = 'submitting' AND ($3 OR lease_until < $1)",
                now,
                self._unknown_for,
                all_leases_void,
            )
            if all_leases_void:
                await connection.execute(
                    "UPDATE generation.provider_jobs SET lease_until = NULL"
                    " WHERE state IN ('submitted', 'unknown') AND lease_until IS NOT NULL"
                )

    async def next_due(self, now: datetime) -> datetime | None:
        """When the next job or deadline is due; a job that waits for its lane's turn is not."""
        async with self._database.connection() as connection:
            due: datetime | None = await connection.fetchval(
                """
                SELECT least(
                    (SELECT next_look_at FROM generation.provider_jobs
                        WHERE state IN ('submitted', 'unknown')
                            AND (lease_until IS NULL OR lease_until < $1)
                        ORDER BY next_look_at LIMIT 1),
                    (SELECT min(next_look_at) FROM generation.provider_jobs
                        WHERE state = 'waiting' AND next_look_at > $1),
                    (SELECT min(due_at) FROM generation.task_deadlines))""",
                now,
            )
            return due

    async def deadlines(self, now: datetime) -> Sequence[DueDeadline]:
        """Deadlines that have passed; each stays listed until `met` is recorded."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT task_id, request_id, traceparent FROM generation.task_deadlines"
                f" WHERE due_at <= $1 ORDER BY due_at LIMIT {DEADLINE_BATCH}",
                now,
            )
        return [DueDeadline(**row) for row in rows]

    async def look_later(self, jobs: Sequence[LookLater]) -> None:
        """They go on: each is looked at again at its time, or when its vendor calls meanwhile."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE generation.provider_jobs AS job SET lease_until = NULL, looks = looks + 1,"
                " progress = greatest(job.progress, later.progress), next_look_at = later.at"
                " FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[])"
                " AS later (job_id, progress, at)"
                " WHERE job.job_id = later.job_id AND job.state IN ('submitted', 'unknown')",
                [later.job_id for later in jobs],
                [later.progress for later in jobs],
                [later.at for later in jobs],
            )

    async def look_now(self, job_id: UUID, provider: str, now: datetime) -> None:
        """Look at it now instead of later."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE generation.provider_jobs SET next_look_at = $3 WHERE job_id = $1"
                " AND provider = $2 AND state IN ('submitted', 'unknown') AND next_look_at > $3",
                *(job_id, provider, now),
            )

    async def cancel_asked(self, job: DueJob) -> bool:
        """Whether the caller is the first who may ask the vendor to stop."""
        async with self._database.connection() as connection:
            tag = await connection.execute(
                "UPDATE generation.provider_jobs SET cancel_wanted = false"
                " WHERE job_id = $1 AND cancel_wanted",
                job.job_id,
            )
        return bool(tag == "UPDATE 1")

    async def not_taken(self, job: DueJob, words: str, next_try_at: datetime) -> None:
        """The provider surely did not take it: the same attempt may ask again then."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE generation.provider_jobs SET state = 'waiting', lease_until = NULL,"
                " looks = looks + 1, error = $2, next_look_at = $3 WHERE job_id = $1",
                *(job.job_id, words, next_try_at),
            )

    async def unknown(self, job: DueJob, words: str, now: datetime) -> None:
        """The answer was lost: kept on hold and looked for, at most `unknown_for`."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE generation.provider_jobs SET state = 'unknown', lease_until = NULL,"
                " looks = 0, error = $2, next_look_at = $3, unknown_until = $3::timestamptz + $4"
                " WHERE job_id = $1",
                *(job.job_id, words, now, self._unknown_for),
            )

    async def unknown_jobs(self) -> Sequence[asyncpg.Record]:
        """Whose outcome is not known, and those that were given up, the latest first."""
        async with self._database.connection() as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                "SELECT job_id, task_id, output_index, attempt, provider, state, unknown_until"
                " FROM generation.provider_jobs WHERE unknown_until IS NOT NULL"
                f" ORDER BY unknown_until DESC LIMIT {UNKNOWN_LIST_MAX}"
            )
        return rows

    async def progress_of(self, task_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The mean progress (0-100) of each task's outputs."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT task_id, avg(progress)::integer AS progress FROM (
                    SELECT task_id, output_index, max(progress) AS progress
                    FROM generation.provider_jobs WHERE task_id = ANY($1::uuid[])
                    GROUP BY task_id, output_index) AS outputs
                GROUP BY task_id""",
                list(task_ids),
            )
        return {row["task_id"]: row["progress"] for row in rows}


def record_deadline(unit: Unit, task_id: UUID, due_at: datetime) -> None:
    unit.record_sql(
        "INSERT INTO generation.task_deadlines (task_id, due_at, request_id, traceparent)"
        " VALUES ($1, $2, $3, $4)",
        *(task_id, due_at, unit.origin.correlation_id, unit.origin.traceparent),
    )


def record_met(unit: Unit, task_id: UUID) -> None:
    unit.record_sql("DELETE FROM generation.task_deadlines WHERE task_id = $1", task_id)


def record_silence(unit: Unit, task_id: UUID) -> None:
    """What vendors said of its jobs is forgotten: it may repeat a prompt."""
    unit.record_sql(
        "UPDATE generation.provider_jobs SET error = NULL WHERE task_id = $1 AND error IS NOT NULL",
        task_id,
    )


def record_job(
    unit: Unit,
    *,
    task_id: UUID,
    output_index: int,
    attempt: int,
    provider: str,
    model: str,
    due_at: datetime,
    key_owner_id: UUID | None,
    user_id: UUID,
) -> None:
    """A repeat of the same attempt is no second job."""
    unit.record_sql(
        "INSERT INTO generation.provider_jobs (job_id, task_id, output_index, attempt, provider,"
        " model, state, next_look_at, request_id, traceparent, created_at, key_owner_id, user_id)"
        " VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, $8, $9, $7, $10, $11)"
        " ON CONFLICT DO NOTHING",
        *(new_id(), task_id, output_index, attempt, provider, model),
        *(due_at, unit.origin.correlation_id, unit.origin.traceparent, key_owner_id, user_id),
    )


def record_submitted(unit: Unit, job: DueJob, provider_job_id: str, next_look_at: datetime) -> None:
    unit.record_sql(
        "UPDATE generation.provider_jobs SET state = 'submitted', lease_until = NULL, looks = 0,"
        " provider_job_id = $2, next_look_at = $3, error = NULL, unknown_until = NULL"
        " WHERE job_id = $1",
        *(job.job_id, provider_job_id, next_look_at),
    )


def record_job_end(unit: Unit, job: DueJob, state: str, words: str | None = None) -> None:
    """`state` is done, failed, or ended (its task did not need it any more)."""
    unit.record_sql(
        "UPDATE generation.provider_jobs SET state = $2, lease_until = NULL, error = $3,"
        " progress = CASE $2 WHEN 'done' THEN 100 ELSE progress END,"
        " unknown_until = CASE $2 WHEN 'done' THEN NULL ELSE unknown_until END WHERE job_id = $1",
        *(job.job_id, state, words),
    )


def record_unneeded(unit: Unit, task_id: UUID) -> None:
    """The task has ended: what nobody was asked for yet is asked for no more."""
    unit.record_sql(
        "UPDATE generation.provider_jobs SET state = 'ended', error = 'task ended before submit'"
        " WHERE task_id = $1 AND state = 'waiting'",
        task_id,
    )


def record_cancel(unit: Unit, task_id: UUID) -> None:
    """The same where its user does not want it any more: vendors are asked to stop, too."""
    record_unneeded(unit, task_id)
    unit.record_sql(
        "UPDATE generation.provider_jobs SET cancel_wanted = true,"
        " next_look_at = least(next_look_at, $2) WHERE task_id = $1"
        " AND state IN ('submitting', 'submitted', 'unknown')",
        *(task_id, unit.now),
    )
