"""HTTP in: what an account's credits were used for."""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Query
from pydantic import BaseModel

from kernel.clock import Clock
from kernel.errors import Invalid
from kernel.http import Caller
from kernel.identifiers import shown
from kernel.sql import Database
from services.credits import read_model
from services.credits.api.exact_json import Credits, ExactResponse, exact_credits
from services.credits.api.words import Moment, refuse

UNKNOWN: Final = "unknown"
"""Of tasks from before their purpose was kept."""
_CURSOR = re.compile(r"([0-9]{1,18})_([0-9a-f]{32})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class UsageBody(BaseModel):
    """One task that was charged; `credits_used` is what it was charged and not given back."""

    task_id: str
    task_type: str
    model_id: str
    key_id: str | None
    credits_used: Credits
    outcome: str
    used_at: datetime


class UsedBody(BaseModel):
    tasks: int
    credits_used: Credits


class TotalsBody(UsedBody):
    """Of all tasks since `since` and before `until`, whichever page is asked for."""

    since: datetime
    until: datetime
    by_task_type: dict[str, UsedBody]
    by_model: dict[str, UsedBody]


class UsageAnswer(BaseModel):
    success: Literal[True] = True
    usage: list[UsageBody]
    totals: TotalsBody
    next_cursor: str | None


def usage_routes(database: Database, clock: Clock) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation", tags=["credits"])

    @router.get("/usage", response_model=UsageAnswer)
    async def get_usage(
        caller: Caller,
        since: Annotated[Moment | None, Query()] = None,
        until: Annotated[Moment | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: str | None = None,
    ) -> ExactResponse:
        """Tasks that were charged, newest first: those of this calendar month of UTC, unless
        `since` and `until` say otherwise."""
        end = _month_after(clock.now()) if until is None else until
        begin = _month_of(end - _MICROSECOND) if since is None else since
        if begin >= end:
            raise refuse("since", "must be before until.")
        rows = await read_model.usage_page(
            database,
            caller.account_id,
            since=begin,
            until=end,
            before=_place(cursor) or (end, UUID(int=0)),
            limit=limit + 1,
        )
        totals = await read_model.usage_totals(database, caller.account_id, since=begin, until=end)
        page = rows[:limit]
        more = len(rows) > limit
        answer = UsageAnswer(
            usage=[_body(row) for row in page],
            totals=_totals(totals, begin, end),
            next_cursor=_cursor(page[-1]) if more else None,
        )
        return ExactResponse(answer)

    return router


def _month_of(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _month_after(moment: datetime) -> datetime:
    return _month_of(_month_of(moment) + timedelta(days=31))


def _cursor(row: asyncpg.Record) -> str:
    return f"{(row['used_at'] - _EPOCH) // _MICROSECOND}_{row['task_id'].hex}"


def _place(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is not None:
        try:
            return _EPOCH + int(found[1]) * _MICROSECOND, UUID(hex=found[2])
        except OverflowError:
            pass
    raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})


def _body(row: asyncpg.Record) -> UsageBody:
    return UsageBody(
        task_id=shown("task", row["task_id"]),
        task_type=row["task_type"] or UNKNOWN,
        model_id=row["model_id"] or UNKNOWN,
        key_id=shown("key", row["key_id"]) if row["key_id"] else None,
        credits_used=exact_credits(row["charged_units"] - row["refunded_units"]),
        outcome=row["outcome"],
        used_at=row["used_at"],
    )


def _totals(rows: Iterable[asyncpg.Record], since: datetime, until: datetime) -> TotalsBody:
    tasks, units = 0, 0
    types: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    models: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        tasks += row["tasks"]
        units += row["units"]
        for sums in (types[row["task_type"] or UNKNOWN], models[row["model_id"] or UNKNOWN]):
            sums[0] += row["tasks"]
            sums[1] += row["units"]
    return TotalsBody(
        tasks=tasks,
        credits_used=exact_credits(units),
        since=since,
        until=until,
        by_task_type=_used(types),
        by_model=_used(models),
    )


def _used(sums: dict[str, list[int]]) -> dict[str, UsedBody]:
    return {
        name: UsedBody(tasks=tasks, credits_used=exact_credits(units))
        for name, (tasks, units) in sums.items()
    }
