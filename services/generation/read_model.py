"""The read model of generation: each task as its owner sees it, without its prompt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias, assert_never
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from kernel.projections import ReadModel
from kernel.sql import Database, Statement
from kernel.unit import Recorded
from services.generation.domain.messages import (
    OutputCameLate,
    OutputGone,
    OutputKept,
    OutputProduced,
    ProviderAttemptFailed,
    ProviderJobSubmitted,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskDeclined,
    TaskEvent,
    TaskFailed,
    TaskRemoved,
    TaskReserved,
    TaskStarted,
)

Row: TypeAlias = Mapping[str, Any]

TABLES = MetaData(schema="generation_read")

generation_tasks = Table(
    "generation_tasks",
    TABLES,
    Column("task_id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("stage", Text, nullable=False),
    Column("task_type", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("price_units", BigInteger, nullable=False),
    Column("charged_units", BigInteger),
    Column("outcome", Text),
    Column("declined", Boolean, nullable=False, server_default="false"),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("error_details", JSONB, nullable=False, server_default="{}"),
    Column("outputs", JSONB, nullable=False, server_default="{}"),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Index("generation_tasks_by_user", "user_id", "task_id"),
    Index("generation_tasks_by_stage", "user_id", "stage", "task_id"),
    Index("generation_tasks_by_model", "user_id", "model_id", "task_id"),
    Index("generation_tasks_by_age", "user_id", "created_at"),
    Index(
        "generation_tasks_live",
        "task_id",
        postgresql_where=text("stage IN ('queued', 'processing', 'storing')"),
    ),
)

daily_usage = Table(
    "daily_usage",
    TABLES,
    Column("key_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("tasks", Integer, nullable=False),
    Index("daily_usage_by_user", "user_id", "day"),
)
"""How many tasks an API key asked for on each day (UTC)."""

_tasks = generation_tasks.c
_insert = insert(generation_tasks)
_use = insert(daily_usage).values(
    {name: bindparam(name) for name in ("key_id", "day", "user_id", "tasks")}
)
_use = _use.on_conflict_do_update(
    index_elements=["key_id", "day"], set_={"tasks": daily_usage.c.tasks + _use.excluded.tasks}
)
_of_task = _tasks.task_id == bindparam("of_task")


def _setting(*names: str) -> Any:
    return (
        update(generation_tasks).where(_of_task).values({name: bindparam(name) for name in names})
    )


_move = _setting("stage", "version")
_note = _setting("version")
_start = _setting("stage", "version", "started_at", "provider")
_decline = _setting(
    "stage", "version", "declined", "outcome", "charged_units",
    "error_code", "error_message", "error_details", "completed_at",
)  # fmt: skip
_fail = _setting(
    "stage", "version", "outcome", "charged_units", "error_code", "error_message", "completed_at"
)
_end = _setting("stage", "version", "outcome", "charged_units", "completed_at")
_keep_output = (
    update(generation_tasks)
    .where(_of_task)
    .values(
        outputs=_tasks.outputs.op("||")(bindparam("output", type_=JSONB)),
        version=bindparam("version"),
    )
)
_lose_output = (
    update(generation_tasks)
    .where(_of_task)
    .values(
        outputs=func.jsonb_set(
            _tasks.outputs,
            bindparam("lost", type_=ARRAY(Text)),
            literal_column("'true'::jsonb"),
        ),
        version=bindparam("version"),
    )
)

_remove = _setting("stage", "version", "outputs")

PAGES_MAX = 32
"""One for each set of five filters."""
_REMOVED = "removed"
_find = select(generation_tasks).where(
    _tasks.task_id == bindparam("task_id"),
    _tasks.user_id == bindparam("user_id"),
    _tasks.stage != _REMOVED,
)
_filters: Mapping[str, ColumnElement[bool]] = {
    "stages": _tasks.stage == any_(bindparam("stages", type_=ARRAY(Text))),
    "model_id": _tasks.model_id == bindparam("model_id"),
    "task_type": _tasks.task_type == bindparam("task_type"),
    "created_after": _tasks.created_at > bindparam("created_after"),
    "created_before": _tasks.created_at < bindparam("created_before"),
}


@lru_cache(maxsize=PAGES_MAX)
def _page(filters: frozenset[str]) -> Select[Any]:
    """A statement for each set of filters, so that each is planned for what it asks."""
    return (
        select(generation_tasks)
        .where(
            _tasks.user_id == bindparam("user_id"),
            _tasks.task_id < bindparam("before"),
            _tasks.stage != _REMOVED,
            ~_tasks.declined,
            *(_filters[name] for name in sorted(filters)),
        )
        .order_by(_tasks.task_id.desc())
        .limit(bindparam("limit"))
    )


def project(recorded: Recorded[TaskEvent]) -> Iterable[Statement]:
    event = recorded.event
    now: dict[str, Any] = {"of_task": event.task_id, "version": recorded.version}
    match event:
        case TaskCreated():
            yield _insert, _created(recorded, event)
            if event.key_id is not None:
                yield _use, _used(event.key_id, event)
        case TaskReserved():
            yield _move, now | {"stage": "queued"}
        case TaskStarted():
            started = {"started_at": event.at, "provider": event.provider}
            yield _start, now | started | {"stage": "processing"}
        case ProviderJobSubmitted() | ProviderAttemptFailed():
            yield _note, now
        case OutputProduced() | OutputCameLate():
            yield _note, now
        case OutputKept():
            yield _keep_output, now | {"output": {str(event.index): dict(event.file)}}
        case OutputGone():
            yield _lose_output, now | {"lost": [str(event.index), "deleted"]}
        case TaskCompleted():
            yield _end, now | _ending("completed", event)
        case TaskCancelled():
            yield _end, now | _ending("cancelled", event)
        case TaskFailed():
            words = {"error_code": event.code, "error_message": event.message}
            yield _fail, now | words | _ending("failed", event)
        case TaskDeclined():
            yield _decline, now | _declined(event)
        case TaskRemoved():
            yield _remove, now | {"stage": _REMOVED, "outputs": {}}
        case _:
            assert_never(event)


def _created(recorded: Recorded[TaskEvent], event: TaskCreated) -> Mapping[str, Any]:
    return {
        "task_id": event.task_id,
        "user_id": event.user_id,
        "stage": "pending",
        "task_type": event.task_type,
        "model_id": event.model_id,
        "provider": event.provider,
        "price_units": event.price_units,
        "version": recorded.version,
        "created_at": event.at,
    }


def _used(key_id: UUID, event: TaskCreated) -> Mapping[str, Any]:
    day = event.at.astimezone(UTC).date()
    return {"key_id": key_id, "day": day, "user_id": event.user_id, "tasks": 1}


def _ending(stage: str, event: TaskCompleted | TaskFailed | TaskCancelled) -> dict[str, Any]:
    return {
        "stage": stage,
        "outcome": event.outcome,
        "charged_units": event.charged_units,
        "completed_at": event.at,
    }


def _declined(event: TaskDeclined) -> dict[str, Any]:
    limited = event.limited
    if limited is None:
        code, message = "insufficient_credits", "The balance does not cover the price."
        details = {"required": event.required_units, "available": event.available_units}
    else:
        code, message = "monthly_credit_limit_reached", "The API key's monthly limit is reached."
        details = {
            "required": event.required_units,
            "limit": limited.limit_units,
            "used": limited.used_units,
        }
    return {
        "stage": "failed",
        "declined": True,
        "outcome": "declined",
        "charged_units": 0,
        "error_code": code,
        "error_message": message,
        "error_details": {f"{name}_units": units for name, units in details.items()},
        "completed_at": event.at,
    }


READ_MODEL = ReadModel(TABLES, project)


def replayed(history: Iterable[Recorded[TaskEvent]]) -> Iterator[Row]:
    """The task's row after each of its events, as `project` would have left it in the table."""
    row: Row = dict.fromkeys(_tasks.keys()) | {
        "declined": False,
        "error_details": {},
        "outputs": {},
    }
    for recorded in history:
        for statement, values in project(recorded):
            if getattr(statement, "table", None) is generation_tasks:
                row = _changed(row, values)
        yield row


def _changed(row: Row, values: Mapping[str, Any]) -> Row:
    changes = {name: value for name, value in values.items() if name in row}
    if "output" in values:
        changes["outputs"] = {**row["outputs"], **values["output"]}
    if "lost" in values:
        index, deleted = values["lost"]
        changes["outputs"] = {**row["outputs"], index: {**row["outputs"][index], deleted: True}}
    return {**row, **changes}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks of a list; what is None is any. Both moments are outside."""

    stages: Sequence[str] | None = None
    model_id: str | None = None
    task_type: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


async def find(database: Database, task_id: UUID, user_id: UUID) -> asyncpg.Record | None:
    """The user's task; another user's is none, and neither is one that was removed."""
    return await database.fetch_row(_find, task_id=task_id, user_id=user_id)


async def page(
    database: Database, user_id: UUID, wanted: Wanted, *, before: UUID, limit: int
) -> list[asyncpg.Record]:
    """The user's wanted tasks older than `before`, newest first, those declined for credits left
    out."""
    filters = {name: value for name, value in asdict(wanted).items() if value is not None}
    statement = _page(frozenset(filters))
    return await database.fetch(statement, user_id=user_id, before=before, limit=limit, **filters)
