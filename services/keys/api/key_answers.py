"""What is told of API keys: a secret once, when it is made, and a hash never."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import asyncpg
from pydantic import BaseModel

from kernel.identifiers import shown
from kernel.money import to_credits


class Status(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Rotation(BaseModel):
    """The secret before the present one still works, until then."""

    previous_valid_until: datetime


class KeyBody(BaseModel):
    """`allowed_ips` is empty for a key that works from anywhere, and `rate_limits` holds only what
    is the key's own. `last_used_at` is null for a key that nobody used in the last 90 days."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    is_active: bool
    status: Status
    version: int
    allowed_ips: list[str]
    rate_limits: dict[str, str]
    monthly_credit_limit: float | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotation: Rotation | None


class CreatedKeyBody(BaseModel):
    """`api_key` is null in a repeated answer: a secret is never kept."""

    id: str
    api_key: str | None
    name: str
    scopes: list[str]
    prefix: str
    version: int
    allowed_ips: list[str]
    rate_limits: dict[str, str]
    monthly_credit_limit: float | None
    created_at: datetime
    expires_at: datetime | None


class KeyAnswer(BaseModel):
    success: Literal[True] = True
    key: KeyBody


class KeysAnswer(BaseModel):
    success: Literal[True] = True
    keys: list[KeyBody]
    next_cursor: str | None


class RotatedKeyAnswer(KeyAnswer):
    """`api_key` is null in a repeated answer: a secret is never kept."""

    api_key: str | None
    previous_valid_until: datetime


class UseBody(BaseModel):
    """`requests` of one client; an address or agent that is not known is empty."""

    address: str
    agent: str
    last_used_at: datetime
    requests: int


class UsageBody(BaseModel):
    last_used_at: datetime | None
    recent: list[UseBody]


class DryRunAnswer(KeyAnswer):
    """Nothing was changed; this is whom it would have cut off."""

    dry_run: Literal[True] = True
    usage: UsageBody


def key_body(row: asyncpg.Record, last_used_at: datetime | None, now: datetime) -> KeyBody:
    status, until = _status(row, now), row["previous_valid_until"]
    in_grace = status is Status.ACTIVE and until is not None and until > now
    return KeyBody(
        **_common(row),
        is_active=status is Status.ACTIVE,
        status=status,
        revoked_at=row["revoked_at"],
        last_used_at=last_used_at,
        rotation=Rotation(previous_valid_until=until) if in_grace else None,
    )


def created_body(row: asyncpg.Record, api_key: str | None) -> dict[str, Any]:
    return CreatedKeyBody(**_common(row), api_key=api_key).model_dump(mode="json")


def usage_body(uses: Sequence[asyncpg.Record]) -> UsageBody:
    """Of the clients that used a key, the latest first."""
    recent = [UseBody(**dict(use)) for use in uses]
    return UsageBody(last_used_at=recent[0].last_used_at if recent else None, recent=recent)


def _status(row: asyncpg.Record, now: datetime) -> Status:
    if not row["is_active"]:
        return Status.REVOKED
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return Status.EXPIRED
    return Status.ACTIVE


def _common(row: asyncpg.Record) -> Mapping[str, Any]:
    units = row["monthly_credit_limit_units"]
    return {
        "id": shown("key", row["key_id"]),
        "name": row["name"],
        "prefix": row["prefix"],
        "scopes": row["scopes"],
        "version": row["version"],
        "allowed_ips": row["allowed_ips"],
        "rate_limits": row["rate_limits"],
        "created_at": row["created_at"],
        "expires_at": row["expires_at"],
        "monthly_credit_limit": None if units is None else to_credits(units),
    }
