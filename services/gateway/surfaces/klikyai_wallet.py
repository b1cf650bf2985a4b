"""KLIKYAI's wallet (seed 003): a view of the ledger in which everything is a credit or a debit.

`balance` is what is available, so a transaction is each entry that changed it, by how much: a hold
is a debit of type `reservation`, and what it gives back, by its release or beside its charge, is a
credit of type `reservation_returned`. A charge of all that was held changes nothing more and is not
shown. Thus `balance_after` is the one of the transaction before, with the amount added or taken; a
page may show fewer transactions than its limit.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel

from services.gateway.surfaces.translation import Asked, Native, Said, Translation

CREDITS: Final = "/api/v2/generation/credits"
RESERVATION: Final = "reservation"
RETURNED: Final = "reservation_returned"
_USAGE_TYPES: Final = {"hold": RESERVATION, "release": RETURNED, "commit": RETURNED}
_DESCRIPTIONS: Final = {
    "grant": "Credits granted",
    "hold": "Reserved for a task",
    "release": "Returned: the task was not charged",
    "commit": "Returned: the task cost less than was reserved",
    "refund": "Refunded",
    "adjust": "Adjusted",
    "charge": "Charged",
    "expire": "A grant has ended",
}


class Wallet(BaseModel):
    """In credits, with 4 places. `balance` is what is available."""

    balance: float
    total_credits: float
    used_credits: float
    reserved_credits: float
    currency: Literal["credits"] = "credits"


class WalletResponse(BaseModel):
    success: Literal[True] = True
    message: str
    data: Wallet


class WalletTransaction(BaseModel):
    """`metadata` has `entry_kind`, and `task_id` or `ends_at` where there is one."""

    id: str
    transaction_type: Literal["credit", "debit"]
    amount: float
    balance_after: float
    usage_type: str
    description: str
    metadata: dict[str, str]
    created_at: datetime


class WalletTransactions(BaseModel):
    """Newest first; `next_cursor` is null at the end."""

    transactions: list[WalletTransaction]
    next_cursor: str | None


class WalletTransactionsResponse(BaseModel):
    success: Literal[True] = True
    message: str
    data: WalletTransactions


async def _wallet(_: Asked, native: Native) -> Said:
    has = await native("GET", CREDITS)
    wallet = Wallet(
        balance=has["available_credits"],
        total_credits=has["total_credits"],
        used_credits=has["used_credits"],
        reserved_credits=has["reserved_credits"],
    )
    return Said(200, WalletResponse(message="Wallet retrieved successfully", data=wallet))


async def _transactions(asked: Asked, native: Native) -> Said:
    listed = await native("GET", f"{CREDITS}/history", query=asked.query)
    shown = [_transaction(entry) for entry in listed["transactions"] if entry["change"]]
    data = WalletTransactions(transactions=shown, next_cursor=listed["next_cursor"])
    words = "Transactions retrieved successfully"
    return Said(200, WalletTransactionsResponse(message=words, data=data))


def _transaction(entry: Mapping[str, Any]) -> WalletTransaction:
    kind, change = entry["kind"], entry["change"]
    metadata = {
        "entry_kind": kind,
        "task_id": entry["task_id"],
        "ends_at": entry["ends_at"],
    }
    return WalletTransaction(
        id=entry["id"],
        transaction_type="credit" if change > 0 else "debit",
        amount=abs(change),
        balance_after=entry["balance_after"]["available_credits"],
        usage_type=_USAGE_TYPES.get(kind, kind),
        description=entry["reason"] or _DESCRIPTIONS[kind],
        metadata={name: value for name, value in metadata.items() if value is not None},
        created_at=entry["created_at"],
    )


WALLET: Final = Translation(_wallet, 200, None, WalletResponse)
TRANSACTIONS: Final = Translation(
    _transactions, 200, None, WalletTransactionsResponse, query=("limit", "cursor")
)
