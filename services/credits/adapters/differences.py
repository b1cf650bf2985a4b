"""The records of reconciliation: what was found, whose turn it is, and what the last round saw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import asyncpg

from kernel.clock import new_id
from kernel.sql import Database
from services.credits.adapters.platform_accounts import PlatformSums

EVERY: Final = timedelta(minutes=1)
KEPT_FOR: Final = timedelta(days=90)
"""After they were settled."""
KEPT_MAX: Final = 10_000
GONE: Final = "gone"
"""The action of what is no difference any more, without the reconciler's doing."""
_FROM_THE_FIRST: Final = UUID(int=2**128 - 1)


class Kind(StrEnum):
    """What a difference is of: a hold of a task that has ended, or never was; a live task that
    nothing is held for."""

    HOLD_OF_ENDED_TASK = "hold_of_ended_task"
    HOLD_WITHOUT_TASK = "hold_without_task"
    TASK_WITHOUT_HOLD = "task_without_hold"


@dataclass(frozen=True, slots=True)
class Found:
    """A difference as it was seen at `at`; it is settled with `settled`, by `action`."""

    kind: Kind
    task_id: UUID
    account_id: UUID
    amount_units: int
    at: datetime
    action: str | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class LastRound:
    """The last one that compared everything, None before the first; `platform` are the sums as they
    were at `platform_at`."""

    compared_at: datetime | None
    holds: int
    tasks: int
    losses_units: int
    platform_at: datetime | None
    platform: PlatformSums | None


_CLAIM: Final = """
    UPDATE credits.reconciliation SET due_at = $1::timestamptz + $2::interval, holder = $3
    WHERE due_at <= $1 RETURNING true"""
_RENEW: Final = """
    UPDATE credits.reconciliation SET due_at = $1::timestamptz + $2::interval
    WHERE holder = $3 RETURNING true"""
_END: Final = """
    UPDATE credits.reconciliation SET due_at = $1::timestamptz + $2::interval, holder = NULL,
        compared_at = $4, holds = $5, tasks = $6, losses_units = $7
    WHERE holder = $3"""
_SUMS: Final = "UPDATE credits.reconciliation SET platform = $1, platform_at = $2"
_LAST: Final = """
    SELECT compared_at, holds, tasks, losses_units, platform_at, platform
    FROM credits.reconciliation"""
_FOUND: Final = """
    INSERT INTO credits.differences AS known
        (difference_id, kind, task_id, account_id, amount_units, found_at, seen_at, settled_at,
         action)
    VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)
    ON CONFLICT (kind, task_id) DO UPDATE SET seen_at = excluded.seen_at,
        amount_units = excluded.amount_units, settled_at = excluded.settled_at,
        action = excluded.action"""
_SETTLE: Final = """
    UPDATE credits.differences SET settled_at = $1, action = $2
    WHERE settled_at IS NULL AND seen_at < $1"""
_FORGET_OLD: Final = "DELETE FROM credits.differences WHERE settled_at < $1"
# The settled ones first, then the oldest: what still is one is found again.
_FORGET_SURPLUS: Final = """
    DELETE FROM credits.differences WHERE difference_id IN (
        SELECT difference_id FROM credits.differences
        ORDER BY settled_at IS NOT NULL, found_at DESC, difference_id DESC OFFSET $1)"""
_OPEN: Final = """
    SELECT kind, count(*) AS differences FROM credits.differences
    WHERE settled_at IS NULL GROUP BY kind"""
_PAGE: Final = """
    SELECT * FROM credits.differences
    WHERE difference_id < $1 AND (NOT $2 OR settled_at IS NULL)
    ORDER BY difference_id DESC LIMIT $3"""


def found_sql(found: Found) -> tuple[str, Sequence[object]]:
    """The statement that remembers it, once for each kind and task."""
    return _FOUND, (
        *(new_id(), found.kind.value, found.task_id, found.account_id, found.amount_units),
        *(found.at, found.at if found.settled else None, found.action),
    )


class Differences:
    """The tables `differences` and `reconciliation` of credits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, holder: UUID, now: datetime) -> bool:
        """Whether a round is due, and `holder`'s: of all processes, one at a time has it."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_CLAIM, now, EVERY, holder))

    async def renew(self, holder: UUID, now: datetime) -> bool:
        """Whether the round is `holder`'s still, for `EVERY` from `now`."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_RENEW, now, EVERY, holder))

    async def end(
        self,
        holder: UUID,
        began_at: datetime,
        *,
        ended_at: datetime,
        holds: int,
        tasks: int,
        losses_units: int,
    ) -> None:
        """The round is over; the next one is due `EVERY` after this one began. What was a
        difference before it, and was not seen in it, is none any more."""
        async with self._database.transaction() as connection:
            await connection.execute(_SETTLE, began_at, GONE)
            await connection.execute(_FORGET_OLD, began_at - KEPT_FOR)
            await connection.execute(_FORGET_SURPLUS, KEPT_MAX)
            await connection.execute(
                _END, *(began_at, EVERY, holder), *(ended_at, holds, tasks, losses_units)
            )

    async def sums(self, sums: PlatformSums, at: datetime) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_SUMS, asdict(sums), at)

    async def record(self, found: Sequence[Found]) -> None:
        async with self._database.connection() as connection:
            for one in found:
                text, values = found_sql(one)
                await connection.execute(text, *values)

    async def last_round(self) -> LastRound:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_LAST)
        assert row is not None, "the migration wrote it"
        values = dict(row)
        platform = values.pop("platform")
        return LastRound(**values, platform=PlatformSums(**platform) if platform else None)

    async def still_open(self) -> Mapping[str, int]:
        """How many of each kind are not settled."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OPEN)
        return {row["kind"]: row["differences"] for row in rows}

    async def page(
        self, *, before: UUID | None, only_open: bool, limit: int
    ) -> Sequence[asyncpg.Record]:
        """The latest found first, found before `before`."""
        async with self._database.connection() as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                _PAGE, before or _FROM_THE_FIRST, only_open, limit
            )
            return rows
