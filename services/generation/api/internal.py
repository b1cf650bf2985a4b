"""HTTP in, for services alone: what has become of tasks, as their events tell it.

Answers are from history itself, never from a read model that may be made anew just now: credits
ends what is held by them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter
from pydantic import BaseModel, Field

from kernel.errors import Forbidden
from kernel.http import Caller, Identity
from kernel.http.identity import SERVICE_ROLE
from kernel.sql import Database
from services.generation.adapters.due_list import DueList
from services.generation.domain.task import TASK, Stage

STATES_MAX: Final = 500
LIVE_MAX: Final = 1_000
HISTORY_MAX: Final = 1_000
"""A task has a few events for each attempt at each output."""
FACTS: Final = (
    *("price_units", "charged_units", "outcome", "code"),
    *("required_units", "available_units", "limited"),
    *("index", "attempt", "provider", "own_key", "outputs", "model_id", "task_type", "fault"),
)
"""What explains a charge. No user's words, no address of an output, no vendor's name of a job."""
_FIRST: Final = UUID(int=0)
_LIVE: Final = (Stage.QUEUED.value, Stage.PROCESSING.value, Stage.STORING.value)

# The word that ended a task is one of four, and its last but for what vendors made too late.
_STATES: Final = """
    SELECT head.state->>'task_id' AS task_id, head.state->>'stage' AS stage,
        head.state->>'account_id' AS account_id,
        (head.state->>'price_units')::bigint AS price_units,
        coalesce((ending.data->>'charged_units')::bigint, 0) AS charged_units,
        CASE ending.type WHEN 'TaskDeclined' THEN 'declined'
            ELSE coalesce(ending.data->>'outcome', '') END AS outcome,
        ending.recorded_at AS ended_at
    FROM generation.streams AS head
    LEFT JOIN LATERAL (
        SELECT type, data, recorded_at FROM generation.events
        WHERE stream_id = head.stream_id
            AND type IN ('TaskCompleted', 'TaskFailed', 'TaskCancelled', 'TaskDeclined')
        ORDER BY version DESC LIMIT 1
    ) AS ending ON true
    WHERE head.stream_id = ANY($1::text[])"""
# Which tasks live is found by the read model's index; what it leaves out is found a minute later.
_PAGE: Final = """
    SELECT task.task_id, head.state->>'account_id' AS account_id, task.price_units,
        task.created_at AS since
    FROM generation_read.generation_tasks AS task
    JOIN generation.streams AS head ON head.stream_id = 'task-' || task.task_id
    WHERE task.task_id > $1 AND task.stage IN ('queued', 'processing', 'storing')
        AND head.state->>'stage' = ANY($2::text[])
    ORDER BY task.task_id LIMIT $3"""
_HISTORY: Final = f"""
    SELECT event_id, type, recorded_at, metadata, data FROM generation.events
    WHERE stream_id = $1 ORDER BY version LIMIT {HISTORY_MAX}"""


class StatesRequest(BaseModel):
    task_ids: Annotated[list[UUID], Field(max_length=STATES_MAX)]


class TaskState(BaseModel):
    """`outcome` is empty, and `ended_at` null, while the task goes on."""

    stage: str
    account_id: UUID
    price_units: int
    charged_units: int
    outcome: str
    ended_at: datetime | None


class StatesBody(BaseModel):
    tasks: dict[UUID, TaskState]


class LiveRequest(BaseModel):
    after: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=LIVE_MAX)] = LIVE_MAX


class LiveTask(BaseModel):
    """`since` is when it was created."""

    task_id: UUID
    account_id: UUID
    price_units: int
    since: datetime


class LiveBody(BaseModel):
    """`next` is what to ask for after this page; null after the last."""

    tasks: list[LiveTask]
    next: UUID | None


class UnknownJob(BaseModel):
    """A submit whose answer was lost: `state` is unknown while it is looked for, until
    `unknown_until`; failed or ended when it was given up."""

    job_id: UUID
    task_id: UUID
    output_index: int
    attempt: int
    provider: str
    state: str
    unknown_until: datetime


class UnknownBody(BaseModel):
    jobs: list[UnknownJob]


class HistoryRequest(BaseModel):
    task_id: UUID


class TaskFact(BaseModel):
    event_id: UUID
    type: str
    at: datetime
    causation_id: str | None
    correlation_id: str
    facts: Mapping[str, Any]


class HistoryBody(BaseModel):
    events: list[TaskFact]


def internal_routes(database: Database, due: DueList) -> APIRouter:
    router = APIRouter(prefix="/internal/tasks", tags=["internal"])

    @router.post("/states")
    async def tell_states(caller: Caller, body: StatesRequest) -> StatesBody:
        """What each of the tasks has come to; one that never existed is left out."""
        _require_service(caller)
        streams = [TASK.stream_id(task_id) for task_id in body.task_ids]
        async with database.connection() as connection:
            rows = await connection.fetch(_STATES, streams)
        return StatesBody(tasks={UUID(row["task_id"]): _state(row) for row in rows})

    @router.post("/live")
    async def tell_live(caller: Caller, body: LiveRequest) -> LiveBody:
        """The tasks that have their credits and have not ended, the oldest first."""
        _require_service(caller)
        async with database.connection() as connection:
            rows = await connection.fetch(_PAGE, body.after or _FIRST, list(_LIVE), body.limit)
        tasks = [LiveTask(**row) for row in rows]
        return LiveBody(tasks=tasks, next=tasks[-1].task_id if len(tasks) == body.limit else None)

    @router.post("/unknown")
    async def tell_unknown(caller: Caller) -> UnknownBody:
        """Jobs of which nobody knows whether a vendor has made them, the latest first."""
        _require_service(caller)
        return UnknownBody(jobs=[UnknownJob(**row) for row in await due.unknown_jobs()])

    @router.post("/history")
    async def tell_history(caller: Caller, body: HistoryRequest) -> HistoryBody:
        """The task's events in order, each with what of it explains a charge."""
        _require_service(caller)
        async with database.connection() as connection:
            rows = await connection.fetch(_HISTORY, TASK.stream_id(body.task_id))
        return HistoryBody(events=[_fact(row) for row in rows])

    return router


def _require_service(caller: Identity) -> None:
    """Raises `Forbidden` for everybody whom the gateway speaks for."""
    if caller.role != SERVICE_ROLE:
        raise Forbidden("access_denied", "This is for services.")


def _state(row: asyncpg.Record) -> TaskState:
    return TaskState(
        stage=row["stage"],
        account_id=row["account_id"],
        price_units=row["price_units"],
        charged_units=row["charged_units"],
        outcome=row["outcome"],
        ended_at=row["ended_at"],
    )


def _fact(row: asyncpg.Record) -> TaskFact:
    data, metadata = row["data"], row["metadata"]
    return TaskFact(
        event_id=row["event_id"],
        type=row["type"],
        at=row["recorded_at"],
        causation_id=metadata["causation_id"],
        correlation_id=metadata["correlation_id"],
        facts={name: data[name] for name in FACTS if data.get(name) is not None},
    )
