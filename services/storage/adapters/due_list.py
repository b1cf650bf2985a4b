"""The due-list: which output is to be fetched when. It knows addresses, and no bytes.

A claim is a short statement with a lease; nothing is locked while something is fetched. `claims`
counts who took a row and so tells claimants apart: one that was overtaken can't write any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from kernel.context import Origin
from kernel.sql import Database
from kernel.unit import Unit
from services.storage.adapters.given_marks import record_file_gone
from services.storage.domain import ExpectOutput

LEASE: Final = timedelta(seconds=90)
"""Who still works renews it well before its end, and so is not overtaken."""

REMOVALS: Final = "storage.removals"
FENCED_TABLE: Final = "output_fetches"
_MINE: Final = "task_id = $1 AND output_index = $2 AND claims = $3 AND state = 'waiting'"


@dataclass(frozen=True, slots=True)
class DueFetch:
    """`claims` counts this claim too; `attempts` are those that have failed. `url` may hold a
    secret of its provider: it goes into no log. It is empty where `object_key` names what lies in
    our object store already."""

    task_id: UUID
    output_index: int
    user_id: UUID
    url: str
    object_key: str | None
    task_type: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    mime_type: str | None
    model_id: str | None
    claims: int
    attempts: int
    request_id: str
    causation_id: str | None
    traceparent: str | None

    @property
    def origin(self) -> Origin:
        """The request, and the message, that led here."""
        return Origin(self.request_id, self.causation_id, self.traceparent)


@dataclass(frozen=True, slots=True)
class EndedFetch:
    """What is known of an output that was stored or rejected."""

    task_id: UUID
    output_index: int
    user_id: UUID
    object_key: str | None


class DueList:
    """The table `output_fetches` of storage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now: datetime, limit: int) -> Sequence[DueFetch]:
        """At most `limit` outputs whose time has come, leased to the caller for `LEASE`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """
                WITH due AS MATERIALIZED (
                    SELECT task_id, output_index FROM storage.output_fetches
                    WHERE state = 'waiting' AND next_try_at <= $1
                        AND (lease_until IS NULL OR lease_until < $1)
                    ORDER BY next_try_at LIMIT $3 FOR UPDATE SKIP LOCKED)
                UPDATE storage.output_fetches AS f
                SET lease_until = $1::timestamptz + $2, claims = claims + 1
                FROM due WHERE f.task_id = due.task_id AND f.output_index = due.output_index
                RETURNING f.task_id, f.output_index, user_id, url, object_key, task_type,
                    width, height, duration_seconds, mime_type, model_id, claims, attempts,
                    request_id, causation_id, traceparent""",
                now,
                LEASE,
                limit,
            )
        return [DueFetch(**row) for row in rows]

    async def renew(self, fetch: DueFetch, now: datetime) -> bool:
        """Lease it for another `LEASE`; False when another claimant has it, or it has ended."""
        async with self._database.connection() as connection:
            tag = await connection.execute(
                f"UPDATE storage.output_fetches SET lease_until = $4::timestamptz + $5"
                f" WHERE {_MINE}",
                *(fetch.task_id, fetch.output_index, fetch.claims, now, LEASE),
            )
        return tag == "UPDATE 1"

    async def try_again(self, fetch: DueFetch, error: str, next_try_at: datetime) -> None:
        """This attempt failed, another may not: take it up again then."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE storage.output_fetches SET attempts = attempts + 1, lease_until = NULL,"
                f" error = $4, next_try_at = $5 WHERE {_MINE}",
                *(fetch.task_id, fetch.output_index, fetch.claims, error, next_try_at),
            )

    async def is_unwanted(self, fetch: DueFetch) -> bool:
        """Its owner has been erased, or has removed the task."""
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM storage.erasures WHERE user_id = $1)"
                    " OR EXISTS (SELECT FROM storage.removals WHERE task_id = $2)",
                    *(fetch.user_id, fetch.task_id),
                )
            )

    async def hasten(self, of: UUID, now: datetime, limit: int, *, by: str = "user_id") -> None:
        """Make some of the outputs of that user, or task, that wait for another attempt due now."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE storage.output_fetches SET next_try_at = $2 WHERE ctid = ANY(ARRAY("
                "SELECT ctid FROM storage.output_fetches"
                f" WHERE {by} = $1 AND state = 'waiting' AND next_try_at > $2 LIMIT $3))",
                *(of, now, limit),
            )

    async def ended_of(self, of: UUID, limit: int, *, by: str = "user_id") -> Sequence[EndedFetch]:
        """Outputs of that user, or task, with which no worker is busy any more."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT task_id, output_index, user_id, object_key FROM storage.output_fetches"
                f" WHERE {by} = $1 AND state <> 'waiting' LIMIT $2",
                *(of, limit),
            )
        return [EndedFetch(**row) for row in rows]

    async def has_any_of(self, of: UUID, *, by: str = "user_id") -> bool:
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval(
                    f"SELECT EXISTS (SELECT FROM storage.output_fetches WHERE {by} = $1)",
                    of,
                )
            )

    async def void_leases(self) -> None:
        """For the start of a process that shares its database with no other: who leased is dead."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE storage.output_fetches SET lease_until = NULL"
                " WHERE state = 'waiting' AND lease_until IS NOT NULL"
            )


def record_fetch(unit: Unit, output: ExpectOutput, url: str, object_key: str | None) -> None:
    """Due at once."""
    unit.record_sql(
        "INSERT INTO storage.output_fetches (task_id, output_index, user_id, url, object_key,"
        " task_type, width, height, duration_seconds, mime_type, model_id, state, next_try_at,"
        " request_id, causation_id, traceparent, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'waiting', $12, $13, $14, $15,"
        " $12)",
        *(output.task_id, output.index, output.user_id, url, object_key, output.task_type),
        *(output.width, output.height, output.duration_seconds, output.mime_type),
        *(output.model_id, unit.now),
        *(unit.origin.correlation_id, unit.origin.causation_id, unit.origin.traceparent),
    )


def record_forgotten(unit: Unit, fetch: DueFetch | EndedFetch) -> None:
    """Its stream remembers that it has been here: announced again, it is not fetched again."""
    unit.record_sql(
        "DELETE FROM storage.output_fetches WHERE task_id = $1 AND output_index = $2",
        *(fetch.task_id, fetch.output_index),
    )
    record_file_gone(unit, fetch.user_id, fetch.task_id, fetch.output_index)


def record_end(unit: Unit, fetch: DueFetch, state: str, error: str | None = None) -> None:
    """`state` is done or rejected; the address is forgotten.

    The commit fails with a NotNullViolationError of `FENCED_TABLE` when another has claimed the row
    since: its object may lie where this claimant's did, and then this one's hash would be false.
    """
    unit.record_sql(
        "UPDATE storage.output_fetches SET state = CASE WHEN claims = $3 THEN $4 END,"
        " lease_until = NULL, url = NULL, error = $5"
        " WHERE task_id = $1 AND output_index = $2 AND state = 'waiting'",
        *(fetch.task_id, fetch.output_index, fetch.claims, state, error),
    )
