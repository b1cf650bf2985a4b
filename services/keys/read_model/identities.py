"""Who stands behind a user's id: account, role, plan and standing; no address and no name."""

from collections.abc import Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import asyncpg
from sqlalchemy import Column, DateTime, Table, Text, Uuid, bindparam, insert, select, update

from kernel.sql import Database, Statement
from services.keys.domain import (
    PlanChanged,
    UserDisabled,
    UserErased,
    UserRegistered,
    UserVerified,
)
from services.keys.read_model.metadata import METADATA

ACTIVE: Final = "active"
DISABLED: Final = "disabled"
ERASED: Final = "erased"
_AFTER_ALL: Final = UUID(int=2**128 - 1)

IDENTITIES = Table(
    "identities",
    METADATA,
    Column("user_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("role", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("verified_at", DateTime(timezone=True)),
)
IS_ACTIVE = IDENTITIES.c.status == ACTIVE

_INSERT = insert(IDENTITIES)
_UPDATE = update(IDENTITIES).where(IDENTITIES.c.user_id == bindparam("who"))
_ONE = select(IDENTITIES).where(
    IDENTITIES.c.user_id == bindparam("user_id"), IDENTITIES.c.status != ERASED
)
_ACTIVE = select(IDENTITIES).where(IDENTITIES.c.user_id == bindparam("user_id"), IS_ACTIVE)
_PAGE = (
    select(IDENTITIES)
    .where(IDENTITIES.c.user_id < bindparam("before"), IDENTITIES.c.status != ERASED)
    .order_by(IDENTITIES.c.user_id.desc())
    .limit(bindparam("rows"))
)


def project_identities(
    event: UserRegistered | UserVerified | PlanChanged | UserDisabled | UserErased,
) -> Sequence[Statement]:
    match event:
        case UserRegistered():
            return ((_INSERT, _row(event)),)
        case UserVerified():
            return ((_UPDATE, {"who": event.user_id, "verified_at": event.verified_at}),)
        case PlanChanged():
            return ((_UPDATE, {"who": event.user_id, "plan": event.plan}),)
        case UserDisabled():
            return ((_UPDATE, {"who": event.user_id, "status": DISABLED}),)
        case UserErased():
            return ((_UPDATE, {"who": event.user_id, "status": ERASED}),)
        case _:
            assert_never(event)


def _row(event: UserRegistered) -> dict[str, Any]:
    return {
        "user_id": event.user_id,
        "account_id": event.account_id,
        "role": event.role,
        "plan": event.plan,
        "status": ACTIVE,
        "registered_at": event.registered_at,
        "verified_at": None,
    }


async def identity_of(database: Database, user_id: UUID) -> asyncpg.Record | None:
    """Who that is; an erased user is nobody."""
    return await database.fetch_row(_ONE, user_id=user_id)


async def active_identity(database: Database, user_id: UUID) -> asyncpg.Record | None:
    """The same for whoever may do something: a disabled user is nobody either."""
    return await database.fetch_row(_ACTIVE, user_id=user_id)


async def identities_page(
    database: Database, *, limit: int, before: UUID | None
) -> list[asyncpg.Record]:
    """At most `limit` people, newest first, who registered before the user `before`."""
    return await database.fetch(_PAGE, before=before or _AFTER_ALL, rows=limit)
