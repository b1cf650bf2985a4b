"""The rules of API keys; it must not know HTTP, SQL or what a key looks like.

A key is one identity with one secret after another: rotation makes the next version, and the
secret before stays good for a grace period. At most two secrets of a key are good at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

from kernel.errors import Forbidden, NotFound, Rejected, Unauthenticated
from kernel.messages import Aggregate, Decider
from services.keys.domain.key_bounds import field_beyond

FIRST_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`user_id` is None where no key is; units are 1/10,000 credit a month, None without limit.

    `version` is that of the newest secret; the one before it is good until `previous_valid_until`.
    """

    user_id: UUID | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    monthly_credit_limit_units: int | None = None
    revoked_at: datetime | None = None
    allowed_ips: tuple[str, ...] = ()
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    version: int = 0
    previous_valid_until: datetime | None = None
    deleted_at: datetime | None = None

    def expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at

    def alive(self, at: datetime) -> bool:
        ended = self.revoked_at is not None or self.deleted_at is not None
        return self.user_id is not None and not ended and not self.expired(at)


@dataclass(frozen=True, slots=True)
class Creator:
    """The key by which another is created, as it stood when it asked."""

    key_id: UUID
    key: ApiKey


@dataclass(frozen=True, slots=True)
class CreateKey:
    """`created_by` is None for a signed-in person, who is not bound by any key.

    `allowed_ips` (empty: from anywhere) and `rate_limits` (class of routes -> rate; a class that is
    absent has the plan's) are canonical.
    """

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
    allowed_ips: tuple[str, ...] = ()
    rate_limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RotateKey:
    """`version` is the one that the caller saw: of two who saw the same, one rotates.

    There is nothing to ask for but the secret, so a rotated key can't go beyond what it was.
    """

    key_id: UUID
    user_id: UUID
    version: int
    key_sha256: str
    prefix: str
    grace: timedelta
    at: datetime


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """`user_id` asks: another user's key is no key to them."""

    key_id: UUID
    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class DeleteKey:
    key_id: UUID
    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class KeyCreated:
    """The key lives, with the secret of version `FIRST_VERSION`."""

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
    allowed_ips: tuple[str, ...] = ()
    rate_limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyRotated:
    """The key has another secret, of `version`; of those before, the last is good until
    `previous_valid_until` and no other any more."""

    key_id: UUID
    user_id: UUID
    version: int
    key_sha256: str
    prefix: str
    previous_valid_until: datetime
    rotated_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    key_id: UUID
    user_id: UUID
    revoked_at: datetime


@dataclass(frozen=True, slots=True)
class KeyDeleted:
    """The key is dead if it was not, and nobody sees it any more."""

    key_id: UUID
    user_id: UUID
    deleted_at: datetime


KeyCommand = CreateKey | RotateKey | RevokeKey | DeleteKey
KeyEvent = KeyCreated | KeyRotated | KeyRevoked | KeyDeleted


def _decide_key(command: KeyCommand, state: ApiKey) -> Sequence[KeyEvent]:
    match command:
        case CreateKey():
            return _create(command, state)
        case RotateKey():
            return _rotate(command, _owned(state, command.user_id))
        case RevokeKey():
            if _owned(state, command.user_id).revoked_at is not None:
                return ()
            return (KeyRevoked(command.key_id, command.user_id, command.at),)
        case DeleteKey():
            _owned(state, command.user_id)
            return (KeyDeleted(command.key_id, command.user_id, command.at),)
        case _:
            assert_never(command)


def _owned(state: ApiKey, user_id: UUID) -> ApiKey:
    """Raises `NotFound` unless it is the user's and still there."""
    if state.user_id != user_id or state.deleted_at is not None:
        raise key_not_found()
    return state


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
            allowed_ips=command.allowed_ips,
            rate_limits=command.rate_limits,
        ),
    )


def _refuse_more_than_own(command: CreateKey, own: ApiKey) -> None:
    """A key creates no key with more of anything than its own."""
    if own.user_id != command.user_id or not own.alive(command.at):
        raise Unauthenticated("invalid_api_key", "This API key is not valid.")
    beyond = field_beyond(command, own)
    if beyond is not None:
        raise Forbidden(
            "exceeds_own_key",
            f"A key can't create a key with more than its own {beyond}.",
            {"field": beyond},
        )


def _rotate(command: RotateKey, state: ApiKey) -> Sequence[KeyRotated]:
    if state.revoked_at is not None:
        raise Rejected("key_revoked", "A revoked key can't be rotated; create another.")
    if state.expired(command.at):
        raise Rejected("key_expired", "An expired key can't be rotated; create another.")
    if command.version != state.version:
        raise Rejected(
            "key_rotated_meanwhile",
            "The key was rotated by another request; look at it, then rotate again if need be.",
            {"version": state.version},
        )
    until = command.at + command.grace
    return (
        KeyRotated(
            key_id=command.key_id,
            user_id=command.user_id,
            version=state.version + 1,
            key_sha256=command.key_sha256,
            prefix=command.prefix,
            previous_valid_until=until
            if state.expires_at is None
            else min(until, state.expires_at),
            rotated_at=command.at,
        ),
    )


def key_not_found() -> NotFound:
    """No such key, or another user's: answered alike."""
    return NotFound("key_not_found", "There is no such API key.")


def _evolve_key(state: ApiKey, event: KeyEvent) -> ApiKey:
    match event:
        case KeyCreated():
            return ApiKey(
                user_id=event.user_id,
                scopes=event.scopes,
                expires_at=event.expires_at,
                monthly_credit_limit_units=event.monthly_credit_limit_units,
                allowed_ips=event.allowed_ips,
                rate_limits=event.rate_limits,
                version=FIRST_VERSION,
            )
        case KeyRotated():
            return replace(
                state,
                version=event.version,
                previous_valid_until=event.previous_valid_until,
            )
        case KeyRevoked():
            return replace(state, revoked_at=event.revoked_at)
        case KeyDeleted():
            return replace(state, deleted_at=event.deleted_at)
        case _:
            assert_never(event)


API_KEY: Aggregate[KeyEvent, ApiKey] = Aggregate(
    name="key",
    state=ApiKey,
    initial_state=ApiKey,
    evolve=_evolve_key,
    events=(KeyCreated, KeyRotated, KeyRevoked, KeyDeleted),
)
KEYS: Decider[KeyCommand, KeyEvent, ApiKey] = Decider(API_KEY, _decide_key)
