"""Read models of credits: the balance of each account, and its ledger as clients see it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from kernel.projections import ReadModel
from kernel.sql import Database, Statement
from kernel.unit import Recorded
from services.credits.domain import (
    AccountOpened,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    CommitEntered,
    Entry,
    GrantEntered,
    HoldBarred,
    HoldCommitted,
    HoldEntered,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    LedgerEvent,
    ReleaseEntered,
)

TABLES = MetaData(schema="credits_read")

credits_balances = Table(
    "credits_balances",
    TABLES,
    Column("account_id", Uuid, primary_key=True),
    Column("granted_units", BigInteger, nullable=False),
    Column("used_units", BigInteger, nullable=False),
    Column("held_units", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

credit_transactions = Table(
    "credit_transactions",
    TABLES,
    Column("entry_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("account_version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_units", BigInteger, nullable=False),
    Column("task_id", Uuid),
    Column("granted_after", BigInteger, nullable=False),
    Column("used_after", BigInteger, nullable=False),
    Column("held_after", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("credit_transactions_by_account", "account_id", "account_version", unique=True),
)

_insert_balance = insert(credits_balances)
_put_balance = _insert_balance.on_conflict_do_update(
    index_elements=["account_id"],
    set_={
        name: _insert_balance.excluded[name]
        for name in ("granted_units", "used_units", "held_units", "version", "updated_at")
    },
)
_add_transaction = insert(credit_transactions)

_balance = select(credits_balances).where(credits_balances.c.account_id == bindparam("account_id"))
_history = (
    select(credit_transactions)
    .where(
        credit_transactions.c.account_id == bindparam("account_id"),
        credit_transactions.c.account_version < bindparam("before_version"),
    )
    .order_by(credit_transactions.c.account_version.desc())
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class Balance:
    """In 1/10,000 credit. An account that is not open yet has nothing."""

    total_units: int = 0
    used_units: int = 0
    reserved_units: int = 0

    @property
    def available_units(self) -> int:
        return self.total_units - self.used_units - self.reserved_units


@dataclass(frozen=True, slots=True)
class Transaction:
    """One ledger entry; the `..._after` are the balance that it left."""

    entry_id: UUID
    account_version: int
    kind: str
    amount_units: int
    task_id: UUID | None
    after: Balance
    created_at: datetime


def project(recorded: Recorded[LedgerEvent]) -> Iterable[Statement]:
    match recorded.event:
        case GrantEntered() as entry:
            yield from _project_entry(recorded, entry, "grant", None)
        case HoldEntered() as entry:
            yield from _project_entry(recorded, entry, "reserve", entry.task_id)
        case CommitEntered() as entry:
            yield from _project_entry(recorded, entry, "commit", entry.task_id)
        case ReleaseEntered() as entry:
            yield from _project_entry(recorded, entry, "release", entry.task_id)
        case AccountOpened(account_id):
            yield _put_balance, _balance_row(recorded, account_id, 0, 0, 0)
        case HoldPlaced() | HoldRefused() | HoldBarred() | HoldCommitted() | HoldReleased():
            return
        case BudgetHeld() | BudgetSpent() | BudgetReleased():
            return
        case _:
            assert_never(recorded.event)


def _project_entry(
    recorded: Recorded[LedgerEvent], entry: Entry, kind: str, task_id: UUID | None
) -> Iterable[Statement]:
    after = (entry.granted_after, entry.used_after, entry.held_after)
    yield _put_balance, _balance_row(recorded, entry.account_id, *after)
    yield (
        _add_transaction,
        {
            "entry_id": recorded.event_id,
            "account_id": entry.account_id,
            "account_version": recorded.version,
            "kind": kind,
            "amount_units": entry.amount_units,
            "task_id": task_id,
            "granted_after": entry.granted_after,
            "used_after": entry.used_after,
            "held_after": entry.held_after,
            "created_at": recorded.at,
        },
    )


def _balance_row(
    recorded: Recorded[LedgerEvent], account_id: UUID, granted: int, used: int, held: int
) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "granted_units": granted,
        "used_units": used,
        "held_units": held,
        "version": recorded.version,
        "updated_at": recorded.at,
    }


READ_MODEL = ReadModel(TABLES, project)


async def balance(database: Database, account_id: UUID) -> Balance:
    row = await database.fetch_row(_balance, account_id=account_id)
    if row is None:
        return Balance()
    return Balance(row["granted_units"], row["used_units"], row["held_units"])


async def history(
    database: Database, account_id: UUID, *, before_version: int, limit: int
) -> list[Transaction]:
    """Entries of the account, newest first, older than `before_version`."""
    rows = await database.fetch(
        _history, account_id=account_id, before_version=before_version, limit=limit
    )
    return [
        Transaction(
            entry_id=row["entry_id"],
            account_version=row["account_version"],
            kind=row["kind"],
            amount_units=row["amount_units"],
            task_id=row["task_id"],
            after=Balance(row["granted_after"], row["used_after"], row["held_after"]),
            created_at=row["created_at"],
        )
        for row in rows
    ]
