"""HTTP in: what an account has, now or at a moment before, and its ledger."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from kernel.clock import Clock
from kernel.errors import Invalid
from kernel.http import Caller
from kernel.sql import Database
from services.credits import read_model
from services.credits.api.answers import (
    BalanceBody,
    TransactionBody,
    balance_body,
    transaction_body,
)
from services.credits.api.exact_json import Credits, ExactResponse, exact_credits
from services.credits.api.statement import MEDIA_TYPE, statement
from services.credits.api.words import VERSION_MAX, Moment, before_version


class EndingBody(BaseModel):
    """So much of what is available ends then, unless it is used before."""

    amount: Credits
    ends_at: datetime


class CreditsBody(BalanceBody):
    """The balance, and with `?ending=true` what of it ends when, soonest first."""

    ending: list[EndingBody] | SkipJsonSchema[None] = None


class HistoryBody(BaseModel):
    success: bool
    transactions: list[TransactionBody]
    next_cursor: str | None


AsOf = Annotated[Moment | None, Query(description="As it was at this moment (RFC 3339)")]


class _CsvResponse(StreamingResponse):
    media_type = MEDIA_TYPE


def balance_routes(database: Database, clock: Clock) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation/credits", tags=["credits"])

    @router.get("", response_model=CreditsBody)
    async def get_credits(
        caller: Caller, as_of: AsOf = None, *, ending: bool = False
    ) -> ExactResponse:
        """The balance of the caller's account; with `ending` also when what of it ends, which is
        known for now alone."""
        if as_of is None:
            balance, endings = await read_model.balance(database, caller.account_id, clock.now())
            body = balance_body(balance)
            return ExactResponse(_with_endings(body, endings) if ending else body)
        if ending:
            raise Invalid("invalid_request", "ending: not with as_of.", {"field": "ending"})
        before = await _before(database, caller, as_of, clock)
        last = await read_model.history(database, caller.account_id, before_version=before, limit=1)
        return ExactResponse(balance_body(last[0].after if last else read_model.Balance()))

    @router.get("/history", response_model=HistoryBody)
    async def get_history(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: str | None = None,
        as_of: AsOf = None,
    ) -> ExactResponse:
        """The ledger of the caller's account, newest first."""
        before = min(before_version(cursor), await _before(database, caller, as_of, clock))
        entries = await read_model.history(
            database, caller.account_id, before_version=before, limit=limit + 1
        )
        page = read_model.with_changes(entries)[:limit]
        more = len(entries) > limit
        body = HistoryBody(
            success=True,
            transactions=[transaction_body(entry, change) for entry, change in page],
            next_cursor=str(page[-1][0].account_version) if more else None,
        )
        return ExactResponse(body)

    @router.get("/history.csv", response_class=_CsvResponse)
    async def get_statement(caller: Caller, as_of: AsOf = None) -> StreamingResponse:
        """The whole ledger of the caller's account as CSV (RFC 4180), newest first."""
        before = await _before(database, caller, as_of, clock)
        return _CsvResponse(
            statement(database, caller.account_id, before),
            headers={
                "content-disposition": 'attachment; filename="credits-history.csv"',
                "x-content-type-options": "nosniff",
            },
        )

    return router


def _with_endings(body: BalanceBody, endings: Sequence[read_model.Ending]) -> CreditsBody:
    ending = [EndingBody(amount=exact_credits(one.units), ends_at=one.at) for one in endings]
    return CreditsBody(**body.model_dump(), ending=ending)


async def _before(database: Database, caller: Caller, as_of: datetime | None, clock: Clock) -> int:
    """The first version of the account after that moment. Raises `Invalid` for one to come."""
    if as_of is None:
        return VERSION_MAX
    if as_of > clock.now():
        raise Invalid("invalid_request", "as_of: is in the future.", {"field": "as_of"})
    async with database.connection() as connection:
        return 1 + await read_model.version_as_of(connection, caller.account_id, as_of)
