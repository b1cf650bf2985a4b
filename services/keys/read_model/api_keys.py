"""Every key as its owner sees it; neither a key nor a hash of one."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from kernel.sql import Database, Statement
from services.keys.domain import FIRST_VERSION, KeyCreated, KeyDeleted, KeyRevoked, KeyRotated
from services.keys.read_model.metadata import METADATA

_AFTER_ALL = UUID(int=2**128 - 1)

API_KEYS = Table(
    "api_keys_v2",
    METADATA,
    Column("key_id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("monthly_credit_limit_units", BigInteger),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("version", Integer, nullable=False),
    Column("allowed_ips", ARRAY(Text), nullable=False),
    Column("rate_limits", JSONB, nullable=False),
    Column("previous_valid_until", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Index("api_keys_v2_by_user", "user_id", "key_id"),
)
"""A deleted key keeps its row, so that its owner's audit log can still be asked for."""

_INSERT_KEY = insert(API_KEYS)
_UPDATE_KEY = update(API_KEYS).where(API_KEYS.c.key_id == bindparam("which"))

_OWN = (API_KEYS.c.user_id == bindparam("user_id"), API_KEYS.c.deleted_at.is_(None))
_ONE = select(API_KEYS).where(*_OWN, API_KEYS.c.key_id == bindparam("key_id"))
_EVER = select(API_KEYS.c.key_id).where(
    API_KEYS.c.user_id == bindparam("user_id"), API_KEYS.c.key_id == bindparam("key_id")
)
_PAGE = (
    select(API_KEYS)
    .where(
        *_OWN,
        API_KEYS.c.key_id < bindparam("before"),
        func.starts_with(API_KEYS.c.prefix, bindparam("begins")),
    )
    .order_by(API_KEYS.c.key_id.desc())
    .limit(bindparam("rows"))
)


def project_created_key(event: KeyCreated) -> Sequence[Statement]:
    row: dict[str, Any] = {
        "key_id": event.key_id,
        "user_id": event.user_id,
        "name": event.name,
        "prefix": event.prefix,
        "scopes": list(event.scopes),
        "is_active": True,
        "expires_at": event.expires_at,
        "monthly_credit_limit_units": event.monthly_credit_limit_units,
        "created_at": event.created_at,
        "version": FIRST_VERSION,
        "allowed_ips": list(event.allowed_ips),
        "rate_limits": dict(event.rate_limits),
    }
    return ((_INSERT_KEY, row),)


def project_rotated_key(event: KeyRotated) -> Sequence[Statement]:
    rotated = {
        "prefix": event.prefix,
        "version": event.version,
        "previous_valid_until": event.previous_valid_until,
    }
    return ((_UPDATE_KEY, {"which": event.key_id, **rotated}),)


def project_revoked_key(event: KeyRevoked) -> Sequence[Statement]:
    revoked = {"is_active": False, "revoked_at": event.revoked_at}
    return ((_UPDATE_KEY, {"which": event.key_id, **revoked}),)


def project_deleted_key(event: KeyDeleted) -> Sequence[Statement]:
    deleted = {"is_active": False, "deleted_at": event.deleted_at}
    return ((_UPDATE_KEY, {"which": event.key_id, **deleted}),)


async def key_of(database: Database, user_id: UUID, key_id: UUID) -> asyncpg.Record | None:
    """The user's key of that id; another user's is none, and so is a deleted one."""
    return await database.fetch_row(_ONE, user_id=user_id, key_id=key_id)


async def ever_had_key(database: Database, user_id: UUID, key_id: UUID) -> bool:
    """Whether it is or was the user's key, deleted or not."""
    return await database.fetch_row(_EVER, user_id=user_id, key_id=key_id) is not None


async def keys_of(
    database: Database, user_id: UUID, *, limit: int, before: UUID | None, begins: str = ""
) -> list[asyncpg.Record]:
    """At most `limit` of the user's keys, newest first, created before the key `before`, whose
    secret begins with `begins`."""
    return await database.fetch(
        _PAGE, user_id=user_id, before=before or _AFTER_ALL, rows=limit, begins=begins
    )
