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
