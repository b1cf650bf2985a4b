"""The rules of API keys; it must not know HTTP, SQL or what a key looks like."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeVar, assert_never
from uuid import UUID

from kernel.errors import Forbidden, NotFound, Rejected, Unauthenticated
from kernel.messages import Aggregate, Decider

V = TypeVar("V", datetime, int)


class Scope(StrEnum):
    """What a key may be allowed to do. Events keep the words, not the members."""

    GENERATION_CREATE = "generation:create"
    GENERATION_READ = "generation:read"
    GENERATION_DELETE = "generation:delete"
    CREDITS_READ = "credits:read"
    STORAGE_READ = "storage:read"
    STORAGE_WRITE = "storage:write"
    STORAGE_DELETE = "storage:delete"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    WEBHOOKS_MANAGE = "webhooks:manage"
    GALLERY_WRITE = "gallery:write"
    SPECS_READ = "specs:read"
    SPECS_WRITE = "specs:write"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`user_id` is None where no key is; units are 1/10,000 credit a month, None without limit."""

    user_id: UUID | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    monthly_credit_limit_units: int | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Creator:
    """The key by which another is created, as it stood when it asked."""

    key_id: UUID
    key: ApiKey


@dataclass(frozen=True, slots=True)
class CreateKey:
    """`created_by` is None for a signed-in person, who is not bound by any key."""

    key_id: UUID
    user_id: UUID
    account_id: UUID
    key_sha256: str
    prefix: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    monthly_credit_limit_units: int | None
    created_by: Creator | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """`user_id` asks: another user's key is no key to them."""

    key_id: UUID
    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class KeyCreated:
    key_id: UUID
    user_id: UUID
    account_id: UUID
    key_sha256: str
    prefix: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    monthly_credit_limit_units: int | None
    created_by_key_id: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    key_id: UUID
    user_id: UUID
    revoked_at: datetime


KeyCommand = CreateKey | RevokeKey
KeyEvent = KeyCreated | KeyRevoked


def _decide_key(command: KeyCommand, state: ApiKey) -> Sequence[KeyEvent]:
    match command:
        case CreateKey():
            return _create(command, state)
        case RevokeKey():
            if state.user_id != command.user_id:
                raise key_not_found()
            if state.revoked_at is not None:
                return ()
            return (KeyRevoked(command.key_id, command.user_id, command.at),)
        case _:
            assert_never(command)


def _create(command: CreateKey, state: ApiKey) -> Sequence[KeyCreated]:
    if state.user_id is not None:
        raise Rejected("key_exists", "This key has been created before.")
    if command.created_by is not None:
        _refuse_more_than_own(command, command.created_by.key)
    return (
        KeyCreated(
            key_id=command.key_id,
            user_id=command.user_id,
            account_id=command.account_id,
            key_sha256=command.key_sha256,
            prefix=command.prefix,
            name=command.name,
            scopes=command.scopes,
            expires_at=command.expires_at,
            monthly_credit_limit_units=command.monthly_credit_limit_units,
            created_by_key_id=command.created_by.key_id if command.created_by else None,
            created_at=command.at,
        ),
    )


def _refuse_more_than_own(command: CreateKey, own: ApiKey) -> None:
    """A key creates no key with more scope, a longer life or a higher limit than its own."""
    expired = own.expires_at is not None and own.expires_at <= command.at
    if own.user_id != command.user_id or own.revoked_at is not None or expired:
        raise Unauthenticated("invalid_api_key", "This API key is not valid.")
    if not set(command.scopes) <= set(own.scopes):
        raise _more_than_own("scopes")
    if _exceeds(command.expires_at, own.expires_at):
        raise _more_than_own("expires_in_days")
    if _exceeds(command.monthly_credit_limit_units, own.monthly_credit_limit_units):
        raise _more_than_own("monthly_credit_limit")


def _exceeds(asked: V | None, own: V | None) -> bool:
    """Whether `asked` lies beyond `own`; None is beyond everything."""
    if own is None:
        return False
    return asked is None or asked > own


def _more_than_own(field: str) -> Forbidden:
    return Forbidden(
        "exceeds_own_key",
        f"A key can't create a key with more than its own {field}.",
        {"field": field},
    )


def key_not_found() -> NotFound:
    """No such key, or another user's: answered alike."""
    return NotFound("key_not_found", "There is no such API key.")


def _evolve_key(state: ApiKey, event: KeyEvent) -> ApiKey:
    match event:
        case KeyCreated():
            return ApiKey(
                event.user_id, event.scopes, event.expires_at, event.monthly_credit_limit_units
            )
        case KeyRevoked():
            return replace(state, revoked_at=event.revoked_at)
        case _:
            assert_never(event)


API_KEY: Aggregate[KeyEvent, ApiKey] = Aggregate(
    name="key",
    state=ApiKey,
    initial_state=ApiKey,
    evolve=_evolve_key,
    events=(KeyCreated, KeyRevoked),
)
KEYS: Decider[KeyCommand, KeyEvent, ApiKey] = Decider(API_KEY, _decide_key)
