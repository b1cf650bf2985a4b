"""Proves the ledger whole: every rule over every event, head, row and seal, in one snapshot.

The server does the work, two looks at a time, and tells what breaks a rule; nothing else leaves it,
so memory here stays the same for any number of entries. Nothing is written, and the product may run
meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import asyncpg

from kernel.errors import NotFound
from kernel.inbox_partitions import KEPT_DAYS, first_id_of
from kernel.messages import Aggregate
from kernel.objects import ObjectStore
from kernel.sql import Connection, Database
from services.credits.adapters.seals import GENESIS, Seal, witness, witness_name
from services.credits.adapters.verification import (
    accounts,
    heads,
    holds,
    messages,
    read_models,
    seals,
)
from services.credits.adapters.verification.folds import wrong_folds
from services.credits.adapters.verification.rules import (
    FAULTS_MAX,
    Fault,
    Look,
    SharedScan,
    faults_of,
)

__all__ = ["FAULTS_MAX", "Fault", "Figures", "verified"]

LOOKS_AT_ONCE: Final = 2
TIMEOUT_S: Final = 3_600.0
WORK_MEMORY: Final = "128MB"
"""Of the server, for each sort and hash; what does not fit goes to its disk."""
DAYS_MAX: Final = 3_660
WITNESS_BYTES_MAX: Final = 1_024

LONG: Final = (holds.TASKS, seals.SEALED)
SHORT: Final = (
    read_models.TRANSACTIONS,
    holds.HOLD_HEADS,
    heads.HEADS,
    read_models.BALANCES,
    holds.BUDGETS,
    accounts.TOTALS,
    seals.CHAIN,
)
"""The longest first, so that both ends of the work end together."""
RARE: Final = """
    SELECT * FROM credits.events WHERE type IN ('AccountOpened', 'GrantEntered', 'ExpiryEntered',
        'HoldRefunded', 'LossEntered', 'PlanDefined', 'PeriodBegun')"""
"""Kinds that are few in most ledgers: who reads those of them alone shares one scan of all."""
Work: TypeAlias = Callable[[Connection], Coroutine[Any, Any, Sequence[Fault]]]

_FIGURES: Final = """
    SELECT (SELECT count(*) FROM credits_read.credit_transactions) AS entries,
        (SELECT count(*) FROM credits_read.credits_balances) AS accounts,
        (SELECT count(*) FROM credits.streams WHERE stream_id LIKE 'hold-%') AS holds,
        (SELECT count(*) FROM credits.streams
            WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held') AS open_holds,
        (SELECT count(*) FROM credits.seals) AS seals,
        (SELECT count(*) FROM credits.events WHERE position >
            (SELECT coalesce(max(last_position), 0) FROM credits.seals)) AS unsealed,
        (SELECT head FROM credits.seals ORDER BY seal_no DESC LIMIT 1) AS head"""
_FIRST_EVENT: Final = "SELECT recorded_at FROM credits.events ORDER BY position LIMIT 1"
_SEAL: Final = "SELECT seal_no, last_position, head FROM credits.seals WHERE seal_no = $1"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was looked at; `head` is that of the last seal, `unsealed` events wait for the next."""

    entries: int
    accounts: int
    holds: int
    open_holds: int
    seals: int
    unsealed: int
    head: bytes

    def words(self) -> str:
        return (
            f"{self.entries} entries in {self.accounts} accounts, {self.holds} holds,"
            f" {self.open_holds} of them open; {self.seals} seals, the last {self.head.hex()};"
            f" {self.unsealed} events wait for the next"
        )


async def verified(
    database: Database,
    aggregates: Sequence[Aggregate[Any, Any]],
    objects: ObjectStore,
    now: datetime,
) -> tuple[Sequence[Fault], Figures]:
    """All faults that were found, first in the order of positions, and what was looked at."""
    oldest_message = first_id_of(now - timedelta(days=KEPT_DAYS))
    rare = SharedScan(
        "rare_events",
        RARE,
        (
            *read_models.RARE,
            heads.ACCOUNTS,
            holds.LOSSES_OF_HEADS,
            accounts.GRANTS,
            messages.LOSSES,
        ),
        (oldest_message,),
    )
    looks = (*LONG, accounts.entries_since(oldest_message), rare, *SHORT)
    work: deque[Work] = deque(partial(_faults, look) for look in looks)
    work.append(partial(_folds, aggregates))
    work.append(partial(_witnesses, objects, now))
    async with _snapshot(database) as (connection, snapshot):
        row, parts = await asyncio.gather(
            connection.fetchrow(_FIGURES, timeout=TIMEOUT_S),
            asyncio.gather(*(_done(database, snapshot, work) for _ in range(LOOKS_AT_ONCE))),
        )
    assert row is not None, "it always has a row"
    faults = sorted((fault for part in parts for fault in part), key=_place)
    return faults, Figures(**{**row, "head": row["head"] or GENESIS})


def _place(fault: Fault) -> tuple[bool, int, str]:
    """Those without a position come last."""
    return fault.position is None, fault.position or 0, fault.rule


@asynccontextmanager
async def _snapshot(
    database: Database, snapshot: str | None = None
) -> AsyncIterator[tuple[Connection, str]]:
    """A transaction in which nothing changes: as of now, or of `snapshot`, which is another one's.

    It may be idle, and at work, for as long as it takes. Both processors have work without parallel
    workers; compiling (JIT) took longer than it saved; and ids lie in the order of their time, so
    an index over them is read almost as fast as the table (`random_page_cost`)."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        if snapshot is not None:
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        await connection.execute(
            "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0;"
            f" SET LOCAL work_mem = '{WORK_MEMORY}'; SET LOCAL max_parallel_workers_per_gather = 0;"
            " SET LOCAL jit = off; SET LOCAL random_page_cost = 1.1"
        )
        yield connection, snapshot or await connection.fetchval("SELECT pg_export_snapshot()")


async def _done(database: Database, snapshot: str, work: deque[Work]) -> list[Fault]:
    """Work off what is left of `work`, beside others who do."""
    faults: list[Fault] = []
    async with _snapshot(database, snapshot) as (connection, _):
        while work:
            look = work.popleft()
            try:
                async with connection.transaction():  # what can't be read ends this look alone
                    faults.extend(await look(connection))
            except asyncpg.DataError as error:
                faults.append(Fault("unreadable", f"An event can be read: {error}"))
    return faults


async def _faults(look: Look | SharedScan, connection: Connection) -> Sequence[Fault]:
    rows = await connection.fetch(look.query, *look.arguments, timeout=TIMEOUT_S)
    return faults_of(look, rows)


async def _folds(
    aggregates: Sequence[Aggregate[Any, Any]], connection: Connection
) -> Sequence[Fault]:
    return await wrong_folds(connection, aggregates)


async def _witnesses(
    objects: ObjectStore, now: datetime, connection: Connection
) -> Sequence[Fault]:
    """The heads that were kept outside of the database, a day at a time, are those of the chain."""
    first = await connection.fetchval(_FIRST_EVENT)
    faults: list[Fault] = []
    if first is None:
        return faults
    days = min((now.date() - first.date()).days, DAYS_MAX)
    for back in range(days, -1, -1):
        name = witness_name((now - timedelta(days=back)).date())
        kept = await _kept(objects, name)
        if kept is None:
            continue
        number = kept.split(b" ")[0]
        row = await connection.fetchrow(_SEAL, int(number)) if number.isdigit() else None
        if row is None or witness(Seal(**row)) != kept:
            found = f"The chain has the seals that were kept outside of it: {name}"
            faults.append(Fault("witness_differs", found))
    return faults


async def _kept(objects: ObjectStore, name: str) -> bytes | None:
    try:
        chunks = await objects.open(name)
    except NotFound:
        return None
    content = b""
    async with chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > WITNESS_BYTES_MAX:
                break
    return content
