"""What credits tells clients: balances and ledger entries, in exact credits."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel

from kernel.identifiers import shown
from services.credits import read_model
from services.credits.api.exact_json import Credits, exact_credits

OWN_ACCOUNT: Final = "account"


class BalanceBody(BaseModel):
    """Credits, exact to 4 places."""

    total_credits: Credits
    used_credits: Credits
    reserved_credits: Credits
    available_credits: Credits


class TransactionBody(BaseModel):
    """One ledger entry: `kind` is a `TransferKind`, `amount` what it moves from `debit_account` to
    `credit_account`, and `change` by how much it made the available credits more or less. What is
    left of a grant ends at `ends_at`."""

    id: str
    kind: str
    amount: Credits
    change: Credits
    debit_account: str
    credit_account: str
    task_id: str | None
    reason: str | None
    ends_at: datetime | None
    balance_after: BalanceBody
    created_at: datetime


def balance_body(balance: read_model.Balance) -> BalanceBody:
    return BalanceBody(
        total_credits=exact_credits(balance.total_units),
        used_credits=exact_credits(balance.used_units),
        reserved_credits=exact_credits(balance.reserved_units),
        available_credits=exact_credits(balance.available_units),
    )


def transaction_body(entry: read_model.Transaction, change_units: int) -> TransactionBody:
    return TransactionBody(
        id=shown("entry", entry.entry_id),
        kind=entry.kind,
        amount=exact_credits(entry.amount_units),
        change=exact_credits(change_units),
        debit_account=account_name(entry.debit_account),
        credit_account=account_name(entry.credit_account),
        task_id=shown_task(entry.task_id),
        reason=entry.reason,
        ends_at=entry.expires_at,
        balance_after=balance_body(entry.after),
        created_at=entry.created_at,
    )


def account_name(account: str) -> str:
    """The platform's accounts by name; the other one is the reader's own."""
    return account if account.startswith("platform:") else OWN_ACCOUNT


def shown_task(task_id: UUID | None) -> str | None:
    return None if task_id is None else shown("task", task_id)
