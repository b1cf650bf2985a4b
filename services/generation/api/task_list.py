"""The list of a user's tasks, newest first: by status, model, type and time of creation."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from kernel.errors import Invalid, NotFound
from kernel.http import Caller
from kernel.identifiers import parsed, shown
from services.generation import read_model
from services.generation.api.bodies import STATUS_BY_STAGE, TaskList
from services.generation.api.tasks import Tasks
from services.generation.domain.catalogue import Catalogue

NEWEST: Final = UUID(int=2**128 - 1)
Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
STAGES_BY_STATUS: Final[Mapping[str, Sequence[str]]] = {
    status: [stage for stage, shown_as in STATUS_BY_STAGE.items() if shown_as == status]
    for status in STATUS_BY_STAGE.values()
}
# RFC 3339, 5.6.
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _moment(value: object) -> object:
    """Only what RFC 3339 allows: pydantic takes numbers and naive times as well."""
    if not isinstance(value, str):
        return value
    if not _MOMENT.fullmatch(value):
        raise ValueError("must be a time like 2026-01-31T12:00:00Z (RFC 3339)")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999") from None


MODEL_ID: Final = r"^[A-Za-z0-9._/-]{1,100}$"
Moment = Annotated[datetime, BeforeValidator(_moment)]


def add_task_list(router: APIRouter, tasks: Tasks) -> None:
    @router.get("/tasks")
    async def list_tasks(  # noqa: PLR0917 - each is a parameter of the query
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: str | None = None,
        status: Status | None = None,
        model: Annotated[str | None, Query(pattern=MODEL_ID)] = None,
        type: str | None = None,  # noqa: A002 - the parameter's public name
        created_after: Moment | None = None,
        created_before: Moment | None = None,
    ) -> TaskList:
        """The caller's tasks, newest first; with filters those that pass all of them. A cursor goes
        with the filters that it was given for."""
        before = NEWEST if cursor is None else parsed("task", cursor)
        if before is None:
            raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
        wanted = read_model.Wanted(
            stages=None if status is None else STAGES_BY_STATUS[status],
            model_id=None if model is None else _model_id(tasks.catalogue, model),
            task_type=_known_type(tasks.catalogue, type),
            created_after=created_after,
            created_before=created_before,
        )
        rows = await read_model.page(
            tasks.store.database, caller.user_id, wanted, before=before, limit=limit + 1
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return TaskList(
            success=True,
            tasks=await tasks.bodies(rows),
            next_cursor=shown("task", rows[-1]["task_id"]) if more else None,
        )


def _model_id(catalogue: Catalogue, name: str) -> str:
    """Of an alias; a model that left the catalogue may still have tasks."""
    try:
        return catalogue.find(name).id
    except NotFound:
        return name


def _known_type(catalogue: Catalogue, name: str | None) -> str | None:
    known = sorted({model.task_type for model in catalogue.models.values()})
    if name is not None and name not in known:
        raise Invalid("invalid_request", f"type: one of {', '.join(known)}.", {"field": "type"})
    return name
