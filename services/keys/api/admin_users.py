"""HTTP in: `/api/admin/users`, for signed-in admins."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Query
from pydantic import BaseModel

from kernel.errors import Invalid
from kernel.http import Caller, FromClient
from kernel.identifiers import parsed, shown
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import Accounts, Users
from services.keys.api.words import Email
from services.keys.domain import user_not_found

PAGE_MAX = 100
PAGE = 20


class UserBody(BaseModel):
    id: str
    email: str | None
    role: str
    plan: str
    status: str
    verified: bool
    created_at: datetime


class UsersAnswer(BaseModel):
    success: Literal[True] = True
    users: list[UserBody]
    next_cursor: str | None


class UserAnswer(BaseModel):
    success: Literal[True] = True
    user: UserBody


def admin_user_routes(database: Database, users: Users, accounts: Accounts) -> APIRouter:
    router = APIRouter(prefix="/api/admin/users", tags=["admin"])

    async def bodies_of(rows: Sequence[asyncpg.Record]) -> list[UserBody]:
        emails = await users.emails([row["user_id"] for row in rows])
        return [_body(row, emails.get(row["user_id"])) for row in rows]

    @router.get("")
    async def list_users(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
        cursor: str | None = None,
        email: Annotated[Email | None, Query()] = None,
    ) -> UsersAnswer:
        """Everybody, newest first; with `email` who has exactly this address, if anybody."""
        caller.require_admin()
        if email is not None:
            user_id = await users.find(email)
            row = None if user_id is None else await read_model.identity_of(database, user_id)
            found = [] if row is None else [row]
            return UsersAnswer(users=await bodies_of(found), next_cursor=None)
        before = _before(cursor)
        rows = await read_model.identities_page(database, limit=limit + 1, before=before)
        page = rows[:limit]
        more = len(rows) > limit
        return UsersAnswer(
            users=await bodies_of(page),
            next_cursor=shown("user", page[-1]["user_id"]) if more else None,
        )

    @router.post("/{user_id}/disable")
    async def disable(caller: Caller, client: FromClient, user_id: str) -> UserAnswer:
        """Ends the user's sessions and keys; a repeat changes nothing. 409 `own_account`."""
        async with accounts.refused_disabling(caller, client):
            caller.require_admin()
            whom = parsed("user", user_id)
            if whom is None:
                raise user_not_found()
        await accounts.disable(caller, whom, client)
        row = await read_model.identity_of(database, whom)
        if row is None:  # erased just now
            raise user_not_found()
        return UserAnswer(user=(await bodies_of([row]))[0])

    return router


def _before(cursor: str | None) -> UUID | None:
    before = None if cursor is None else parsed("user", cursor)
    if cursor is not None and before is None:
        raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
    return before


def _body(row: asyncpg.Record, email: str | None) -> UserBody:
    return UserBody(
        id=shown("user", row["user_id"]),
        email=email,
        role=row["role"],
        plan=row["plan"],
        status=row["status"],
        verified=row["verified_at"] is not None,
        created_at=row["registered_at"],
    )
