"""Ends what a user who leaves has under way, and deletes what generation keeps of the erased.

Each step is bounded and may be repeated. The events stay: they hold ids and facts alone.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from kernel.event_store import EventStore
from kernel.unit import Unit
from services.generation.adapters.due_list import record_cancel, record_met
from services.generation.domain.messages import CancelTask
from services.generation.domain.task import SAGA, TASK

CANCEL_BATCH: Final = 50
DELETE_BATCH: Final = 500
STILL_ADMITTED_FOR: Final = timedelta(seconds=60)
"""After an admin's word a gateway that has not heard it may let requests through."""
STILL_COMMITTING_FOR: Final = timedelta(seconds=60)
LOOK_AGAIN_S: Final = 5.0
JOBS_LOOK_AGAIN_S: Final = 60.0

_ACTIVE: Final = ["pending", "queued", "processing", "storing"]
_DELETIONS: Final = (
    # What the user asked for.
    """
    DELETE FROM generation.personal WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM generation.personal WHERE owner_id = $1 LIMIT $2))""",
    # Answers, kept for repeats of their requests.
    """
    DELETE FROM generation.idempotency WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM generation.idempotency WHERE principal = $1::uuid::text LIMIT $2))""",
    # Whose the uploads are.
    """
    DELETE FROM generation.uploaded_files WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM generation.uploaded_files WHERE user_id = $1 LIMIT $2))""",
    # A vendor's words, which may repeat a prompt.
    """
    UPDATE generation.provider_jobs SET error = NULL WHERE job_id = ANY(ARRAY(
        SELECT job_id FROM generation.provider_jobs
        JOIN generation_read.generation_tasks USING (task_id)
        WHERE generation_tasks.user_id = $1 AND error IS NOT NULL LIMIT $2))""",
)


class Leaving:
    """The steps of the tables `shut_outs` and `erasures`."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def shut_out(self, user_id: UUID, since: datetime) -> float | None:
        """Cancel what was begun before everybody knew. What is begun later, by somebody who was let
        in again, is left alone, however late this is heard."""
        until = since + STILL_ADMITTED_FOR
        if await self._cancel_some(user_id, until):
            return 0
        waits = self._store.clock.now() < until + STILL_COMMITTING_FOR
        return LOOK_AGAIN_S if waits else None

    async def erase(self, user_id: UUID, _: datetime) -> float | None:
        """Nothing new can come once the erasure is on record, but for what vendors say of jobs that
        they still have."""
        if await self._cancel_some(user_id, None):
            return 0
        more_may_be_said = await self._has_open_jobs(user_id)
        for statement in _DELETIONS:
            if await self._delete_some(statement, user_id):
                return 0
        return JOBS_LOOK_AGAIN_S if more_may_be_said else None

    async def _cancel_some(self, user_id: UUID, created_until: datetime | None) -> bool:
        """Whether there may be more."""
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT task_id FROM generation_read.generation_tasks"
                " WHERE user_id = $1 AND stage = ANY($2::text[])"
                " AND ($3::timestamptz IS NULL OR created_at <= $3) ORDER BY task_id LIMIT $4",
                *(user_id, _ACTIVE, created_until, CANCEL_BATCH),
            )
        for row in rows:
            await self._cancel(row["task_id"])
        return len(rows) == CANCEL_BATCH

    async def _cancel(self, task_id: UUID) -> None:
        async def work(unit: Unit) -> None:
            recorded = await unit.decide(SAGA, TASK.stream_id(task_id), CancelTask(unit.now))
            record_met(unit, task_id)
            if recorded:
                record_cancel(unit, task_id)

        await self._store.transact(work)

    async def _delete_some(self, statement: str, user_id: UUID) -> bool:
        """Whether there may be more."""
        async with self._store.database.connection() as connection:
            tag = await connection.execute(statement, user_id, DELETE_BATCH)
        return int(tag.rpartition(" ")[2]) == DELETE_BATCH

    async def _has_open_jobs(self, user_id: UUID) -> bool:
        async with self._store.database.connection() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM generation.provider_jobs"
                    " JOIN generation_read.generation_tasks USING (task_id)"
                    " WHERE state IN ('waiting', 'submitting', 'submitted', 'unknown')"
                    " AND generation_tasks.user_id = $1)",
                    user_id,
                )
            )
