"""Which secrets open which keys, and until when: hashes of keys, never a key."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from kernel.sql import Database, Statement
from services.keys.domain import FIRST_VERSION, KeyCreated, KeyRotated
from services.keys.read_model.api_keys import API_KEYS
from services.keys.read_model.identities import IDENTITIES, IS_ACTIVE
from services.keys.read_model.metadata import METADATA

API_KEY_VERSIONS = Table(
    "api_key_versions",
    METADATA,
    Column("key_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("key_sha256", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("valid_until", DateTime(timezone=True)),
    Column("retired", Boolean, nullable=False),
    Index("api_key_versions_current", "key_id", unique=True, postgresql_where=text("NOT retired")),
)
"""`retired`: a newer version has taken over. `valid_until` is null until then, and never later than
what it was; a key has at most one version that is not retired."""

_INSERT = insert(API_KEY_VERSIONS)
_RETIRE = (
    update(API_KEY_VERSIONS)
    .where(API_KEY_VERSIONS.c.key_id == bindparam("which"))
    .values(
        retired=True,
        valid_until=func.least(
            API_KEY_VERSIONS.c.valid_until,
            case(
                (API_KEY_VERSIONS.c.retired, bindparam("at", type_=DateTime(timezone=True))),
                else_=bindparam("until", type_=DateTime(timezone=True)),
            ),
        ),
    )
)


def _after_now(end: ColumnElement[datetime]) -> ColumnElement[bool]:
    return or_(end.is_(None), end > bindparam("now"))


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
        API_KEYS.c.allowed_ips,
        API_KEYS.c.rate_limits,
        API_KEY_VERSIONS.c.version,
        API_KEY_VERSIONS.c.valid_until,
    )
    .select_from(
        API_KEY_VERSIONS.join(API_KEYS, API_KEYS.c.key_id == API_KEY_VERSIONS.c.key_id).join(
            IDENTITIES, IDENTITIES.c.user_id == API_KEYS.c.user_id
        )
    )
    .where(
        API_KEY_VERSIONS.c.key_sha256 == bindparam("key_sha256"),
        API_KEYS.c.is_active,
        IS_ACTIVE,
        _after_now(API_KEYS.c.expires_at),
        _after_now(API_KEY_VERSIONS.c.valid_until),
    )
)


def project_first_version(event: KeyCreated) -> Sequence[Statement]:
    row = {
        "key_id": event.key_id,
        "version": FIRST_VERSION,
        "key_sha256": bytes.fromhex(event.key_sha256),
        "prefix": event.prefix,
        "created_at": event.created_at,
        "retired": False,
    }
    return ((_INSERT, row),)


def project_next_version(event: KeyRotated) -> Sequence[Statement]:
    """The one before is good until its grace is over; those before that one end now."""
    ends = {"which": event.key_id, "until": event.previous_valid_until, "at": event.rotated_at}
    row = {
        "key_id": event.key_id,
        "version": event.version,
        "key_sha256": bytes.fromhex(event.key_sha256),
        "prefix": event.prefix,
        "created_at": event.rotated_at,
        "retired": False,
    }
    return ((_RETIRE, ends), (_INSERT, row))


async def live_key(database: Database, key_sha256: bytes, now: datetime) -> asyncpg.Record | None:
    """What a key stands for while it is neither revoked nor expired, this secret of it still good,
    and its user neither disabled nor erased; one query, by its hash."""
    return await database.fetch_row(_LIVE, key_sha256=key_sha256, now=now)
