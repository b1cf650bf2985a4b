"""What an account has, and its ledger."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from kernel.clock import Clock
from kernel.errors import Invalid
from kernel.http import Caller
from kernel.identifiers import shown
from kernel.money import to_credits
from kernel.sql import Database
from services.credits import read_model

VERSION_MAX = 2**31 - 1
VERSION_DIGITS_MAX = 10


class BalanceBody(BaseModel):
    """Credits, exact to 4 places."""

    total_credits: float
    used_credits: float
    reserved_credits: float
    available_credits: float


class TransactionBody(BaseModel):
    """One ledger entry: `kind` is a `TransferKind`."""

    id: str
    kind: str
    amount: float
    task_id: str | None
    balance_after: BalanceBody
    created_at: datetime


class HistoryBody(BaseModel):
    success: bool
    transactions: list[TransactionBody]
    next_cursor: str | None


def balance_routes(database: Database, clock: Clock) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation/credits", tags=["credits"])

    @router.get("")
    async def get_credits(caller: Caller) -> BalanceBody:
        """The balance of the caller's account."""
        balance, _ = await read_model.balance(database, caller.account_id, clock.now())
        return _balance_body(balance)

    @router.get("/history")
    async def get_history(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: str | None = None,
    ) -> HistoryBody:
        """The ledger of the caller's account, newest first."""
        entries = await read_model.history(
            database, caller.account_id, before_version=_version(cursor), limit=limit + 1
        )
        page = entries[:limit]
        more = len(entries) > limit
        return HistoryBody(
            success=True,
            transactions=[_transaction_body(entry) for entry in page],
            next_cursor=str(page[-1].account_version) if more else None,
        )

    return router


def _version(cursor: str | None) -> int:
    if cursor is None:
        return VERSION_MAX
    # The length first: Python refuses to read a number of thousands of digits.
    is_number = len(cursor) <= VERSION_DIGITS_MAX and cursor.isascii() and cursor.isdigit()
    if not is_number or int(cursor) > VERSION_MAX:
        raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
    return int(cursor)


def _balance_body(balance: read_model.Balance) -> BalanceBody:
    return BalanceBody(
        total_credits=to_credits(balance.total_units),
        used_credits=to_credits(balance.used_units),
        reserved_credits=to_credits(balance.reserved_units),
        available_credits=to_credits(balance.available_units),
    )


def _transaction_body(entry: read_model.Transaction) -> TransactionBody:
    return TransactionBody(
        id=shown("entry", entry.entry_id),
        kind=entry.kind,
        amount=to_credits(entry.amount_units),
        task_id=shown("task", entry.task_id) if entry.task_id else None,
        balance_after=_balance_body(entry.after),
        created_at=entry.created_at,
    )
