"""HTTP in: `/api/admin/reconciliation`, for signed-in admins: what differed, and who bore it."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Query
from pydantic import BaseModel

from kernel.errors import Invalid
from kernel.http import Caller
from kernel.identifiers import HEX_DIGITS, shown
from kernel.money import to_credits
from kernel.sql import Database
from services.credits import read_model
from services.credits.adapters.differences import Differences, LastRound

PAGE: Final = 20
PAGE_MAX: Final = 100
_LAST: Final = UUID(int=0)


class RoundBody(BaseModel):
    """The last round that compared everything: so many open holds with so many live tasks."""

    at: datetime
    holds: int
    tasks: int


class DifferenceBody(BaseModel):
    """`kind` is hold_of_ended_task, hold_without_task or task_without_hold; `action` is what ended
    it (committed, released, gone), or why the ledger refused to, while `settled_at` is null."""

    id: str
    kind: str
    task_id: str
    account_id: str
    amount_credits: float
    found_at: datetime
    seen_at: datetime
    settled_at: datetime | None
    action: str | None


class LossBody(BaseModel):
    """`reason` is late_charge, of a whole task, or late_delivery, of output `index`."""

    id: str
    task_id: str
    account_id: str
    index: int | None
    amount_credits: float
    reason: str
    created_at: datetime


class PlatformBody(BaseModel):
    """What is posted on the platform's accounts, and on those of all users, as it was `at`. The sum
    of them is zero."""

    at: datetime
    grants_credits: float
    revenue_credits: float
    losses_credits: float
    users_credits: float
    sum_credits: float


class ReconciliationAnswer(BaseModel):
    success: Literal[True] = True
    last_round: RoundBody | None
    differences: list[DifferenceBody]
    platform: PlatformBody | None
    losses: list[LossBody]
    next_cursor: str | None


def reconciliation_routes(database: Database) -> APIRouter:
    router = APIRouter(prefix="/api/admin", tags=["admin"])
    records = Differences(database)

    @router.get("/reconciliation")
    async def get_reconciliation(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
        cursor: str | None = None,
        only_open: Annotated[bool, Query(alias="open")] = False,  # noqa: FBT002 - a query's
    ) -> ReconciliationAnswer:
        """Differences between open holds and live tasks, and losses, both newest first, a page of
        each; `open`: only differences that are not settled."""
        caller.require_admin()
        difference, entry = _places(cursor)
        last = await records.last_round()
        found = await records.page(before=difference, only_open=only_open, limit=limit + 1)
        lost = await read_model.losses_page(database, before=entry, limit=limit + 1)
        return ReconciliationAnswer(
            last_round=_round_body(last),
            differences=[_difference_body(row) for row in found[:limit]],
            platform=_platform_body(last),
            losses=[_loss_body(row) for row in lost[:limit]],
            next_cursor=_next_cursor(
                found[limit - 1]["difference_id"] if len(found) > limit else _LAST,
                lost[limit - 1]["entry_id"] if len(lost) > limit else _LAST,
            ),
        )

    return router


def _places(cursor: str | None) -> tuple[UUID | None, UUID | None]:
    """Where each of the two lists goes on; nothing is left of a list whose place is `_LAST`."""
    if cursor is None:
        return None, None
    if len(cursor) != 2 * HEX_DIGITS or not set(cursor) <= set("0123456789abcdef"):
        raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
    return UUID(hex=cursor[:HEX_DIGITS]), UUID(hex=cursor[HEX_DIGITS:])


def _next_cursor(difference: UUID, entry: UUID) -> str | None:
    return None if difference == entry == _LAST else difference.hex + entry.hex


def _round_body(last: LastRound) -> RoundBody | None:
    if last.compared_at is None:
        return None
    return RoundBody(at=last.compared_at, holds=last.holds, tasks=last.tasks)


def _platform_body(last: LastRound) -> PlatformBody | None:
    sums = last.platform
    if sums is None or last.platform_at is None:
        return None
    return PlatformBody(
        at=last.platform_at,
        grants_credits=to_credits(sums.grants_units),
        revenue_credits=to_credits(sums.revenue_units),
        losses_credits=to_credits(sums.losses_units),
        users_credits=to_credits(sums.users_units),
        sum_credits=to_credits(sums.total_units),
    )


def _difference_body(row: asyncpg.Record) -> DifferenceBody:
    return DifferenceBody(
        id=shown("difference", row["difference_id"]),
        kind=row["kind"],
        task_id=shown("task", row["task_id"]),
        account_id=shown("account", row["account_id"]),
        amount_credits=to_credits(row["amount_units"]),
        found_at=row["found_at"],
        seen_at=row["seen_at"],
        settled_at=row["settled_at"],
        action=row["action"],
    )


def _loss_body(row: asyncpg.Record) -> LossBody:
    return LossBody(
        id=shown("entry", row["entry_id"]),
        task_id=shown("task", row["task_id"]),
        account_id=shown("account", row["account_id"]),
        index=row["output_index"],
        amount_credits=to_credits(row["amount_units"]),
        reason=row["reason"],
        created_at=row["created_at"],
    )
