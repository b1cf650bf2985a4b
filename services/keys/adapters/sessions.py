"""Sessions: what a sign-in opens, the refresh token that keeps it open, and how it ends.

A refresh token is a family, which all tokens of a session share, and a secret, which the next one
replaces; both are kept as hashes. Whoever shows the family with another secret has a token that was
used before, or has seen one: the session is not theirs alone any more, and ends. There is no
overlap: of two refreshes at once one wins, and the other, being a repetition, ends the session.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from kernel.clock import new_id, random_token
from kernel.event_store import EventStore
from kernel.sql import Connection
from kernel.unit import Recorded, Unit
from services.keys.domain import (
    USER,
    USERS,
    SessionRevoked,
    StartSession,
    UserCommand,
    UserEvent,
)

PREFIX: Final = "rt_"
FAMILY_BYTES: Final = 16
SECRET_BYTES: Final = 32
_TEXT_LENGTH: Final = (FAMILY_BYTES + SECRET_BYTES) * 4 // 3


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """SHA-256 of its two parts: all that is ever kept of one."""

    family_sha256: bytes
    secret_sha256: bytes


@dataclass(frozen=True, slots=True)
class Granted:
    """A session just opened or refreshed, whose it is and what opens it next."""

    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    session_id: UUID
    refresh_token: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    session_id: UUID
    user_id: UUID
    token_sha256: bytes
    expires_at: datetime


class Sessions:
    """The records `keys.sessions`. A session ends `lifetime` after its sign-in, however often it
    is refreshed."""

    def __init__(self, store: EventStore, lifetime: timedelta) -> None:
        self._store = store
        self._lifetime = lifetime

    async def decide(self, unit: Unit, command: UserCommand) -> Sequence[Recorded[UserEvent]]:
        """Decide on a person, and let go of the sessions that this ended."""
        recorded = await unit.decide(USERS, USER.stream_id(command.user_id), command)
        for item in recorded:
            if isinstance(item.event, SessionRevoked):
                unit.record_sql(
                    "DELETE FROM keys.sessions WHERE session_id = $1", item.event.session_id
                )
        return recorded

    async def start(self, unit: Unit, user_id: UUID) -> Granted:
        """Sign in. Raises `Unauthenticated` for whoever may not."""
        session_id, family = new_id(), random_token(FAMILY_BYTES)
        expires_at = unit.now + self._lifetime
        await self.decide(unit, StartSession(user_id, session_id, expires_at, unit.now))
        token, parts = _minted(family)
        unit.record_sql(
            "INSERT INTO keys.sessions"
            " (session_id, user_id, family_sha256, token_sha256, created_at, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            *(session_id, user_id, parts.family_sha256, parts.secret_sha256),
            *(unit.now, expires_at),
        )
        return await _granted(unit, user_id, session_id, token)

    async def refresh(self, unit: Unit, session: SessionRecord, refresh_token: str) -> Granted:
        """The next token in place of `refresh_token`, which opened `session`."""
        token, parts = _minted(_bytes(refresh_token)[:FAMILY_BYTES])
        unit.record_sql(
            "UPDATE keys.sessions SET token_sha256 = $2 WHERE session_id = $1",
            *(session.session_id, parts.secret_sha256),
        )
        return await _granted(unit, session.user_id, session.session_id, token)

    async def of_family(
        self, connection: Connection, token: RefreshToken, now: datetime
    ) -> SessionRecord | None:
        """The session to which the token belongs or belonged, if it is open."""
        row = await connection.fetchrow(
            "SELECT session_id, user_id, token_sha256, expires_at FROM keys.sessions"
            " WHERE family_sha256 = $1 AND expires_at > $2",
            *(token.family_sha256, now),
        )
        return None if row is None else SessionRecord(**row)

    async def live(self, session_id: UUID) -> SessionRecord | None:
        async with self._store.database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT session_id, user_id, token_sha256, expires_at FROM keys.sessions"
                " WHERE session_id = $1 AND expires_at > $2",
                *(session_id, self._store.clock.now()),
            )
        return None if row is None else SessionRecord(**row)

    async def sweep(self) -> None:
        """Delete those whose time is over."""
        async with self._store.database.connection() as connection:
            await connection.execute(
                "DELETE FROM keys.sessions WHERE expires_at <= $1", self._store.clock.now()
            )


def refresh_token_of(text: str) -> RefreshToken:
    """Its hashes; those of a text that is no refresh token belong to no session."""
    raw = _bytes(text)
    family, secret = raw[:FAMILY_BYTES], raw[FAMILY_BYTES:]
    return RefreshToken(hashlib.sha256(family).digest(), hashlib.sha256(secret).digest())


def _minted(family: bytes) -> tuple[str, RefreshToken]:
    raw = family + random_token(SECRET_BYTES)
    text = PREFIX + base64.urlsafe_b64encode(raw).decode()
    return text, refresh_token_of(text)


def _bytes(text: str) -> bytes:
    """What the text stands for; nothing, when it is no refresh token."""
    digits = text.removeprefix(PREFIX)
    if len(text) != len(PREFIX) + _TEXT_LENGTH or len(digits) != _TEXT_LENGTH:
        return b""
    try:
        return base64.b64decode(digits.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""


async def _granted(unit: Unit, user_id: UUID, session_id: UUID, token: str) -> Granted:
    user = await unit.state(USER, USER.stream_id(user_id))
    assert user.account_id is not None, "nobody else has a session"
    return Granted(user_id, user.account_id, user.role, user.plan, session_id, token)
