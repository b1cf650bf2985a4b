"""Every person's audit log, entry by entry, as it can be asked for."""

from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

import asyncpg
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    bindparam,
    insert,
    select,
)

from kernel.sql import Database, Statement
from services.keys.domain import AuditRecorded
from services.keys.read_model.metadata import METADATA

KEY_AUDIT_LOGS = Table(
    "key_audit_logs",
    METADATA,
    Column("user_id", Uuid, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("actor_id", Uuid, nullable=False),
    Column("actor_key_id", Uuid),
    Column("action", Text, nullable=False),
    Column("key_id", Uuid),
    Column("outcome", Text, nullable=False),
    Column("client_sha256", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("previous_sha256", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Index("key_audit_logs_by_key", "user_id", "key_id", "sequence"),
)

_AFTER_ALL = 2**31 - 1
_INSERT = insert(KEY_AUDIT_LOGS)
_OF_KEY = (
    select(KEY_AUDIT_LOGS)
    .where(
        KEY_AUDIT_LOGS.c.user_id == bindparam("user_id"),
        KEY_AUDIT_LOGS.c.key_id == bindparam("key_id"),
        KEY_AUDIT_LOGS.c.sequence < bindparam("before"),
    )
    .order_by(KEY_AUDIT_LOGS.c.sequence.desc())
    .limit(bindparam("rows"))
)


def project_audit_log(event: AuditRecorded) -> Sequence[Statement]:
    return ((_INSERT, asdict(event)),)


async def entries_of_key(
    database: Database, user_id: UUID, key_id: UUID, *, limit: int, before: int | None
) -> list[asyncpg.Record]:
    """At most `limit` entries of the user's log about the key, newest first, before that one."""
    return await database.fetch(
        _OF_KEY,
        user_id=user_id,
        key_id=key_id,
        before=_AFTER_ALL if before is None else before,
        rows=limit,
    )
