"""The tokens in mailed links, each good once and for a while; only their hashes are kept."""

import base64
import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from kernel.clock import random_token
from kernel.errors import Invalid
from kernel.event_store import EventStore
from kernel.sql import Connection
from kernel.unit import Unit


class Purpose(StrEnum):
    """What a link is for, and so what its mail says."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a purpose, not a password


GOOD_FOR: Final = {
    Purpose.VERIFY_EMAIL: timedelta(days=3),
    Purpose.RESET_PASSWORD: timedelta(hours=1),
}
GOOD_AT_ONCE_MAX: Final = 3
"""Of one person and purpose: who asks on is sent no more until one of them has ended."""


def bad_token() -> Invalid:
    """One answer for a token that never was, was used, or has ended."""
    return Invalid("invalid_token", "This link is not good any more.", {"field": "token"})


def token_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class MailTokens:
    """The records `keys.mail_tokens`."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def mint(self, user_id: UUID, purpose: Purpose) -> str | None:
        """A new token; None while `GOOD_AT_ONCE_MAX` are good already."""
        token = base64.urlsafe_b64encode(random_token()).decode().rstrip("=")
        now = self._store.clock.now()
        async with self._store.database.connection() as connection:
            minted = await connection.fetchval(
                "INSERT INTO keys.mail_tokens (token_sha256, user_id, purpose, expires_at)"
                " SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM keys.mail_tokens"
                f" WHERE user_id = $2 AND purpose = $3 AND expires_at > $5) < {GOOD_AT_ONCE_MAX}"
                " RETURNING true",
                *(token_digest(token), user_id, purpose.value, now + GOOD_FOR[purpose], now),
            )
        return token if minted else None

    async def unmint(self, token: str) -> None:
        """Take back one that was never sent."""
        async with self._store.database.connection() as connection:
            await connection.execute(
                "DELETE FROM keys.mail_tokens WHERE token_sha256 = $1", token_digest(token)
            )

    async def owner(
        self, connection: Connection, token: str, purpose: Purpose, now: datetime
    ) -> UUID:
        """Whose token it is. Raises `Invalid` (`invalid_token`)."""
        user_id: UUID | None = await connection.fetchval(
            "SELECT user_id FROM keys.mail_tokens"
            " WHERE token_sha256 = $1 AND purpose = $2 AND expires_at > $3",
            *(token_digest(token), purpose.value, now),
        )
        if user_id is None:
            raise bad_token()
        return user_id

    def spend(self, unit: Unit, user_id: UUID, *purposes: Purpose) -> None:
        """Delete every token of the user for `purposes`: what they were for is done."""
        unit.record_sql(
            "DELETE FROM keys.mail_tokens WHERE user_id = $1 AND purpose = ANY($2::text[])",
            *(user_id, [purpose.value for purpose in purposes]),
        )

    async def sweep(self) -> None:
        async with self._store.database.connection() as connection:
            await connection.execute(
                "DELETE FROM keys.mail_tokens WHERE expires_at <= $1", self._store.clock.now()
            )
