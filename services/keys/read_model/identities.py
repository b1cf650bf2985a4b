"""Who stands behind a user's id: account, role and plan; no address and no name."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from sqlalchemy import Column, DateTime, Table, Text, Uuid, bindparam, insert, select

from kernel.sql import Database, Statement
from services.keys.domain import UserRegistered
from services.keys.read_model.metadata import METADATA

IDENTITIES = Table(
    "identities",
    METADATA,
    Column("user_id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("role", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("registered_at", DateTime(timezone=True), nullable=False),
)

_INSERT = insert(IDENTITIES)
_ONE = select(IDENTITIES).where(IDENTITIES.c.user_id == bindparam("user_id"))


def project_identities(event: UserRegistered) -> Sequence[Statement]:
    row = {
        "user_id": event.user_id,
        "account_id": event.account_id,
        "role": event.role,
        "plan": event.plan,
        "registered_at": event.registered_at,
    }
    return ((_INSERT, row),)


async def identity_of(database: Database, user_id: UUID) -> asyncpg.Record | None:
    return await database.fetch_row(_ONE, user_id=user_id)
