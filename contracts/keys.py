"""What keys tells: who exists, and which credentials live or died."""

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime

from contracts.envelope import PublicEvent


class UserRegistered(PublicEvent):
    """A person exists. `account_id` is who pays: today one personal account for each user."""

    owner: ClassVar[str] = "keys"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    user_id: UUID
    account_id: UUID
    plan: str
    role: str
    registered_at: AwareDatetime


class UserVerified(PublicEvent):
    """A person has shown that the address is theirs."""

    owner: ClassVar[str] = "keys"

    user_id: UUID
    verified_at: AwareDatetime


class UserDisabled(PublicEvent):
    """An admin has shut a person out: keys and sessions stop, active tasks are cancelled."""

    owner: ClassVar[str] = "keys"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)
    listeners: ClassVar[tuple[str, ...]] = ("gateway",)

    user_id: UUID
    account_id: UUID
    disabled_at: AwareDatetime


class UserErased(PublicEvent):
    """A person is to be forgotten: every service deletes what it keeps of them."""

    owner: ClassVar[str] = "keys"
    consumers: ClassVar[tuple[str, ...]] = ("generation", "storage")
    listeners: ClassVar[tuple[str, ...]] = ("gateway",)

    user_id: UUID
    account_id: UUID
    erased_at: AwareDatetime


class SessionRevoked(PublicEvent):
    """A sign-in ended before its time: its access tokens are good no longer."""

    owner: ClassVar[str] = "keys"
    listeners: ClassVar[tuple[str, ...]] = ("gateway",)

    session_id: UUID
    user_id: UUID
    revoked_at: AwareDatetime


class MfaEnrolled(PublicEvent):
    """A person has a second factor, the first one or a new one."""

    owner: ClassVar[str] = "keys"

    user_id: UUID
    enrolled_at: AwareDatetime


class MfaDisabled(PublicEvent):
    """A person has no second factor any more."""

    owner: ClassVar[str] = "keys"

    user_id: UUID
    disabled_at: AwareDatetime


class KeyCreated(PublicEvent):
    """An API key lives. Neither the key nor its hash is told."""

    owner: ClassVar[str] = "keys"

    key_id: UUID
    user_id: UUID
    account_id: UUID
    scopes: tuple[str, ...]
    expires_at: AwareDatetime | None
    created_at: AwareDatetime


class KeyRevoked(PublicEvent):
    """An API key died: every gateway replica forgets it at once."""

    owner: ClassVar[str] = "keys"
    listeners: ClassVar[tuple[str, ...]] = ("gateway",)

    key_id: UUID
    user_id: UUID
    revoked_at: AwareDatetime


class KeyRotated(PublicEvent):
    """An API key has a new secret; the one before is good until `previous_valid_until`."""

    owner: ClassVar[str] = "keys"
    listeners: ClassVar[tuple[str, ...]] = ("gateway",)

    key_id: UUID
    user_id: UUID
    key_version: int
    previous_valid_until: AwareDatetime
    rotated_at: AwareDatetime


class KeyDeleted(PublicEvent):
    """An API key is gone: it died, and is not listed any more."""

    owner: ClassVar[str] = "keys"
    listeners: ClassVar[tuple[str, ...]] = ("gateway",)

    key_id: UUID
    user_id: UUID
    deleted_at: AwareDatetime
