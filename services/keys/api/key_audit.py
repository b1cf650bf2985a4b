"""HTTP in: `/api/keys/{key_id}/audit`, what was tried with a key; a deleted one has its log too."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Query
from pydantic import BaseModel

from kernel.errors import Invalid
from kernel.http import Caller, Client
from kernel.identifiers import shown
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import AuditTrail
from services.keys.api.api_keys import PAGE, PAGE_MAX, key_id_in
from services.keys.domain import Scope, key_not_found

_DIGITS_MAX: Final = 9


class ActorBody(BaseModel):
    """`key_id` is null for somebody who was signed in."""

    user_id: str
    key_id: str | None


class EntryBody(BaseModel):
    """`outcome` is `succeeded` or the code of the refusal. `sequence` counts all entries of the
    user's log, so those of one key have gaps. `address` and `agent` are null once they are erased,
    and when somebody else acted: where an admin was is not the user's to know."""

    sequence: int
    action: str
    actor: ActorBody
    outcome: str
    address: str | None
    agent: str | None
    request_id: str
    recorded_at: datetime
    sha256: str
    previous_sha256: str


class AuditAnswer(BaseModel):
    success: Literal[True] = True
    entries: list[EntryBody]
    next_cursor: str | None


def key_audit_routes(database: Database, audit: AuditTrail) -> APIRouter:
    router = APIRouter(prefix="/api/keys", tags=["keys"])

    @router.get("/{key_id}/audit")
    async def get_audit_log(
        caller: Caller,
        key_id: str,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
        cursor: str | None = None,
    ) -> AuditAnswer:
        """What was tried with the key, newest first; 404 `key_not_found` for another user's."""
        caller.require(Scope.KEYS_READ)
        inner, user_id = key_id_in(key_id), caller.user_id
        before = None if cursor is None else _sequence_in(cursor)
        if not await read_model.ever_had_key(database, user_id, inner):
            raise key_not_found()
        rows = await read_model.entries_of_key(
            database, user_id, inner, limit=limit + 1, before=before
        )
        page = rows[:limit]
        own = [row["sequence"] for row in page if row["actor_id"] == user_id]
        clients = await audit.clients(user_id, own)
        return AuditAnswer(
            entries=[_entry(row, clients.get(row["sequence"])) for row in page],
            next_cursor=str(page[-1]["sequence"]) if len(rows) > limit else None,
        )

    return router


def _entry(row: asyncpg.Record, client: Client | None) -> EntryBody:
    key_id: UUID | None = row["actor_key_id"]
    return EntryBody(
        sequence=row["sequence"],
        action=row["action"],
        actor=ActorBody(
            user_id=shown("user", row["actor_id"]),
            key_id=None if key_id is None else shown("key", key_id),
        ),
        outcome=row["outcome"],
        address=None if client is None else client.address,
        agent=None if client is None else client.agent,
        request_id=row["request_id"],
        recorded_at=row["recorded_at"],
        sha256=row["sha256"],
        previous_sha256=row["previous_sha256"],
    )


def _sequence_in(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _DIGITS_MAX):
        raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
    return int(cursor)
