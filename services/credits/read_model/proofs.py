"""What proves an account: its sums, its open holds, and how each other hold ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from kernel.sql import Connection, Database
from services.credits.read_model.balances import Balance

OPEN_HOLDS_MAX: Final = 100

_SUMS: Final = """
    SELECT granted_units, used_units, held_units, version
    FROM credits_read.credits_balances WHERE account_id = $1"""
# By the index `open_holds`; ids of tasks are in the order of their time.
_OPEN_HOLDS: Final = f"""
    SELECT hold.task_id, hold.amount_units, entry.entry_id, entry.created_at AS since
    FROM (
        SELECT substr(stream_id, length('hold-') + 1)::uuid AS task_id,
            (state->>'amount_units')::bigint AS amount_units
        FROM credits.streams
        WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held' AND state->>'account_id' = $1
        ORDER BY stream_id DESC LIMIT {OPEN_HOLDS_MAX + 1}
    ) AS hold
    JOIN credits_read.credit_transactions AS entry
        ON entry.task_id = hold.task_id AND entry.kind = 'hold'
    ORDER BY hold.task_id DESC"""
_ENDINGS: Final = """
    SELECT ending.*, hold.amount_units AS held_units, hold.entry_id AS hold_entry_id
    FROM (
        SELECT * FROM credits_read.credit_transactions
        WHERE account_id = $1 AND account_version < $2 AND kind IN ('commit', 'release')
        ORDER BY account_version DESC LIMIT $3
    ) AS ending
    JOIN credits_read.credit_transactions AS hold
        ON hold.task_id = ending.task_id AND hold.kind = 'hold'
    ORDER BY ending.account_version DESC"""


@dataclass(frozen=True, slots=True)
class OpenHold:
    task_id: UUID
    amount_units: int
    entry_id: UUID
    since: datetime


@dataclass(frozen=True, slots=True)
class HoldEnding:
    """The entry at `account_version` ended a hold of `held_units`; what of them was not committed
    was released."""

    task_id: UUID
    held_units: int
    committed_units: int
    kind: str
    at: datetime
    hold_entry_id: UUID
    entry_id: UUID
    account_version: int
    after: Balance


@dataclass(frozen=True, slots=True)
class Proof:
    """`sums` are those of the last of `entries`; `open_holds` are the newest `OPEN_HOLDS_MAX`, and
    one more if there are more; `endings` the newest first."""

    sums: Balance
    entries: int
    open_holds: Sequence[OpenHold]
    endings: Sequence[HoldEnding]


async def proof(database: Database, account_id: UUID, *, before_version: int, limit: int) -> Proof:
    """All of one moment. Endings are at most `limit`, older than `before_version`."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        sums, entries = await _sums(connection, account_id)
        held = await connection.fetch(_OPEN_HOLDS, str(account_id))
        ended = await connection.fetch(_ENDINGS, account_id, before_version, limit)
    return Proof(sums, entries, [OpenHold(**row) for row in held], [_ending(row) for row in ended])


async def _sums(connection: Connection, account_id: UUID) -> tuple[Balance, int]:
    """An account's first event is its opening; every other one is an entry."""
    row = await connection.fetchrow(_SUMS, account_id)
    if row is None:
        return Balance(), 0
    return Balance(row["granted_units"], row["used_units"], row["held_units"]), row["version"] - 1


def _ending(row: asyncpg.Record) -> HoldEnding:
    return HoldEnding(
        task_id=row["task_id"],
        held_units=row["held_units"],
        committed_units=row["amount_units"] if row["kind"] == "commit" else 0,
        kind=row["kind"],
        at=row["created_at"],
        hold_entry_id=row["hold_entry_id"],
        entry_id=row["entry_id"],
        account_version=row["account_version"],
        after=Balance(row["granted_after"], row["used_after"], row["held_after"]),
    )
