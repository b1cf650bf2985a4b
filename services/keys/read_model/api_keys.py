"""Which keys live, and which secrets open them: hashes of keys, never a key."""

from collections.abc import Sequence
from datetime import datetime
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
    LargeBinary,
    Table,
    Text,
    Uuid,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from kernel.sql import Database, Statement
from services.keys.domain import KeyCreated, KeyRevoked
from services.keys.read_model.identities import IDENTITIES
from services.keys.read_model.metadata import METADATA

FIRST_VERSION = 1
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
    Index("api_keys_v2_by_user", "user_id", "key_id"),
)

API_KEY_VERSIONS = Table(
    "api_key_versions",
    METADATA,
    Column("key_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("key_sha256", LargeBinary, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

_INSERT_KEY = insert(API_KEYS)
_INSERT_VERSION = insert(API_KEY_VERSIONS)
_UPDATE_KEY = update(API_KEYS).where(API_KEYS.c.key_id == bindparam("which"))

_OWN = API_KEYS.c.user_id == bindparam("user_id")
_ONE = select(API_KEYS).where(_OWN, API_KEYS.c.key_id == bindparam("key_id"))
_PAGE = (
    select(API_KEYS)
    .where(_OWN, API_KEYS.c.key_id < bindparam("before"))
    .order_by(API_KEYS.c.key_id.desc())
    .limit(bindparam("rows"))
)
_LIVE = (
    select(
        API_KEYS.c.key_id,
        IDENTITIES.c.user_id,
        IDENTITIES.c.account_id,
        IDENTITIES.c.role,
        IDENTITIES.c.plan,
        API_KEYS.c.scopes,
        API_KEYS.c.expires_at,
        API_KEYS.c.monthly_credit_limit_units,
    )
    .select_from(
        API_KEY_VERSIONS.join(API_KEYS, API_KEYS.c.key_id == API_KEY_VERSIONS.c.key_id).join(
            IDENTITIES, IDENTITIES.c.user_id == API_KEYS.c.user_id
        )
    )
    .where(
        API_KEY_VERSIONS.c.key_sha256 == bindparam("key_sha256"),
        API_KEYS.c.is_active,
        or_(API_KEYS.c.expires_at.is_(None), API_KEYS.c.expires_at > bindparam("now")),
    )
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
    }
    return ((_INSERT_KEY, row),)


def project_first_version(event: KeyCreated) -> Sequence[Statement]:
    row = {
        "key_id": event.key_id,
        "version": FIRST_VERSION,
        "key_sha256": bytes.fromhex(event.key_sha256),
        "created_at": event.created_at,
    }
    return ((_INSERT_VERSION, row),)


def project_revoked_key(event: KeyRevoked) -> Sequence[Statement]:
    revoked = {"is_active": False, "revoked_at": event.revoked_at}
    return ((_UPDATE_KEY, {"which": event.key_id, **revoked}),)


async def key_of(database: Database, user_id: UUID, key_id: UUID) -> asyncpg.Record | None:
    """The user's key of that id; another user's is none."""
    return await database.fetch_row(_ONE, user_id=user_id, key_id=key_id)


async def keys_of(
    database: Database, user_id: UUID, *, limit: int, before: UUID | None
) -> list[asyncpg.Record]:
    """At most `limit` of the user's keys, newest first, created before the key `before`."""
    return await database.fetch(_PAGE, user_id=user_id, before=before or _AFTER_ALL, rows=limit)


async def live_key(database: Database, key_sha256: bytes, now: datetime) -> asyncpg.Record | None:
    """What a key stands for while it is neither revoked nor expired; one query, by its hash."""
    return await database.fetch_row(_LIVE, key_sha256=key_sha256, now=now)
