"""The ledger as clients see it: each entry of an account, with the balance that it left."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    bindparam,
    select,
)

from kernel.puts import Put
from kernel.sql import Connection, Database
from kernel.unit import Recorded
from services.credits.domain import ACCOUNT, Entry, transfer_of
from services.credits.read_model.balances import Balance
from services.credits.read_model.tables import TABLES

TRANSACTIONS: Final = Table(
    "credit_transactions",
    TABLES,
    Column("entry_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("account_version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_units", BigInteger, nullable=False),
    Column("debit_account", Text, nullable=False),
    Column("credit_account", Text, nullable=False),
    Column("task_id", Uuid),
    Column("reason", Text),
    Column("expires_at", DateTime(timezone=True)),
    Column("granted_after", BigInteger, nullable=False),
    Column("used_after", BigInteger, nullable=False),
    Column("held_after", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("credit_transactions_by_account", "account_id", "account_version", unique=True),
    Index("credit_transactions_by_task", "task_id"),
)

_page = (
    select(TRANSACTIONS)
    .where(
        TRANSACTIONS.c.account_id == bindparam("account_id"),
        TRANSACTIONS.c.account_version < bindparam("before_version"),
    )
    .order_by(TRANSACTIONS.c.account_version.desc())
    .limit(bindparam("limit"))
)
_of_task = (
    select(TRANSACTIONS)
    .where(
        TRANSACTIONS.c.account_id == bindparam("account_id"),
        TRANSACTIONS.c.task_id == bindparam("task_id"),
    )
    .order_by(TRANSACTIONS.c.account_version)
)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One ledger entry; `after` is the balance that it left. Amounts in 1/10,000 credit."""

    entry_id: UUID
    account_version: int
    kind: str
    amount_units: int
    debit_account: str
    credit_account: str
    task_id: UUID | None
    reason: str | None
    expires_at: datetime | None
    after: Balance
    created_at: datetime


def project_entry(recorded: Recorded[object], entry: Entry) -> Put:
    transfer = transfer_of(entry)
    return Put(
        TRANSACTIONS,
        {
            "entry_id": recorded.event_id,
            "account_id": entry.account_id,
            "account_version": recorded.version,
            "kind": transfer.kind.value,
            "amount_units": entry.amount_units,
            "debit_account": str(transfer.debit),
            "credit_account": str(transfer.credit),
            "task_id": getattr(entry, "task_id", None),
            "reason": getattr(entry, "reason", None),
            "expires_at": getattr(entry, "expires_at", None),
            "granted_after": entry.granted_after,
            "used_after": entry.used_after,
            "held_after": entry.held_after,
            "created_at": recorded.at,
        },
    )


async def history(
    database: Database, account_id: UUID, *, before_version: int, limit: int
) -> list[Transaction]:
    """Entries of the account, newest first, older than `before_version`."""
    rows = await database.fetch(
        _page, account_id=account_id, before_version=before_version, limit=limit
    )
    return [_transaction(row) for row in rows]


def with_changes(entries: Sequence[Transaction]) -> list[tuple[Transaction, int]]:
    """Each entry, newest first and without gaps, with what it changed what is available by. The
    last one's is right if it is the account's first: ask for one more than is shown."""
    before = [entry.after.available_units for entry in entries[1:]]
    return [
        (entry, entry.after.available_units - units)
        for entry, units in zip(entries, (*before, 0), strict=False)
    ]


async def entry_made_with(
    database: Database, account_id: UUID, event: tuple[str, int], entry: type[Entry]
) -> Transaction:
    """The account's entry of that type that was recorded with `event`, a stream and a version."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            _ENTRY_MADE_WITH, *event, ACCOUNT.stream_id(account_id), entry.__name__
        )
    assert row is not None, "it is recorded with its entry"
    return _transaction(row)


async def entries_of_task(
    database: Database, account_id: UUID, task_id: UUID
) -> Sequence[Transaction]:
    """What the task did to the account, oldest first."""
    rows = await database.fetch(_of_task, account_id=account_id, task_id=task_id)
    return [_transaction(row) for row in rows]


_ENTRY_MADE_WITH: Final = """
    SELECT entry.* FROM credits.events AS made
    CROSS JOIN LATERAL (
        SELECT event_id FROM credits.events
        WHERE position > made.position AND position < made.position + 10000
            AND stream_id = $3 AND type = $4
        ORDER BY position LIMIT 1
    ) AS next
    JOIN credits_read.credit_transactions AS entry ON entry.entry_id = next.event_id
    WHERE made.stream_id = $1 AND made.version = $2"""
"""The next one after `made`: they are of one append, and an account's appends wait for each other.
Times would not do, because clocks of processes differ. The bound is far beyond an append's size."""
_VERSION_AS_OF: Final = """
    WITH RECURSIVE search(low, high) AS (
        SELECT 0, coalesce(max(account_version), 0) FROM credits_read.credit_transactions
        WHERE account_id = $1
        UNION ALL
        SELECT CASE WHEN is_by_then THEN middle ELSE low END,
               CASE WHEN is_by_then THEN high ELSE middle - 1 END
        FROM (
            SELECT low, high, (low + high + 1) / 2 AS middle, (
                SELECT created_at <= $2 FROM credits_read.credit_transactions
                WHERE account_id = $1 AND account_version >= (low + high + 1) / 2
                ORDER BY account_version LIMIT 1
            ) AS is_by_then
            FROM search WHERE low < high
        ) AS halves
    )
    SELECT low FROM search WHERE low = high"""
"""By halves: versions of an account are in the order of their time."""


async def version_as_of(connection: Connection, account_id: UUID, as_of: datetime) -> int:
    """The last version of the account at that moment; 0 before its first entry."""
    version: int = await connection.fetchval(_VERSION_AS_OF, account_id, as_of)
    return version


def _transaction(row: asyncpg.Record) -> Transaction:
    values: dict[str, Any] = {
        name: row[name]
        for name in (
            *("entry_id", "account_version", "kind", "amount_units", "debit_account"),
            *("credit_account", "task_id", "reason", "expires_at", "created_at"),
        )
    }
    return Transaction(
        **values, after=Balance(row["granted_after"], row["used_after"], row["held_after"])
    )
