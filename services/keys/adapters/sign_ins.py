"""Signing in by password, staying in by refresh tokens, and signing out; each tried is audited.

An unknown address costs what a known one does: the same statements, one hash, one entry.
"""

from uuid import UUID

from kernel.errors import Unauthenticated
from kernel.event_store import EventStore
from kernel.http import Client, Identity
from kernel.unit import Unit
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.adapters.guesses import Guesses
from services.keys.adapters.passwords import Passwords
from services.keys.adapters.sessions import (
    Granted,
    RefreshToken,
    Sessions,
    refresh_token_of,
)
from services.keys.adapters.users import UserRecord, Users
from services.keys.domain import EndSession, invalid_credentials
from services.keys.domain.audit import Action

REUSED = "refresh_token_reused"
"""The outcome of a refresh that ended its session."""


def invalid_refresh_token() -> Unauthenticated:
    """One answer for a token that never was, was used, or whose session has ended."""
    return Unauthenticated("invalid_refresh_token", "Sign in again.")


class SignIns:
    def __init__(
        self,
        store: EventStore,
        audit: AuditTrail,
        *,
        users: Users,
        passwords: Passwords,
        guesses: Guesses,
        sessions: Sessions,
    ) -> None:
        self._store = store
        self._audit = audit
        self._users = users
        self._passwords = passwords
        self._guesses = guesses
        self._sessions = sessions

    async def by_password(self, email: str, password: str, client: Client) -> Granted:
        """Raises `Unauthenticated` (`invalid_credentials`), `RateLimited`."""
        async with self._store.database.connection() as connection:
            record = await self._users.holder(connection, email)
        lookup = self._users.lookup(email) if record is None else record.email_lookup
        whose = None if record is None else record.user_id
        attempt = Attempt.in_the_name_of(whose, lookup, client, Action.SIGN_IN)
        async with self._audit.refusals(attempt):
            await self._guesses.count(lookup, client.address)
            password_hash = None if record is None else record.password_hash
            right = await self._passwords.matches(password, password_hash)
            if record is None or not right:
                raise invalid_credentials()
            return await self._start(record, attempt)

    async def refresh(self, refresh_token: str, client: Client) -> Granted:
        """Raises `Unauthenticated`; a token that was used before ends its session."""
        token = refresh_token_of(refresh_token)
        now = self._store.clock.now()
        async with self._store.database.connection() as connection:
            session = await self._sessions.of_family(connection, token, now)
        whose = None if session is None else session.user_id
        attempt = Attempt.in_the_name_of(whose, token.family_sha256, client, Action.REFRESH_SESSION)
        granted = None
        async with self._audit.refusals(attempt):
            if session is None:
                raise invalid_refresh_token()
            granted = await self._exchange(session.user_id, token, refresh_token, attempt)
        if granted is None:  # the session's end, and an entry that says why, are written
            raise invalid_refresh_token()
        return granted

    async def sign_out(self, caller: Identity, client: Client) -> None:
        """End the caller's session; one that has ended is left so."""
        session_id = caller.session_id
        attempt = Attempt.by(caller, client, Action.SIGN_OUT)

        async def work(unit: Unit) -> None:
            if session_id is None:
                raise Unauthenticated("unauthenticated", "Sign in first.")
            await self._audit.note(unit, attempt)
            await self._sessions.decide(unit, EndSession(caller.user_id, session_id, unit.now))

        async with self._audit.refusals(attempt):
            await self._store.transact(work)

    async def is_password_of(self, user_id: UUID, password: str, client: Client) -> bool:
        """Whether it is, asked of somebody who is signed in; counted as a sign-in is.

        Raises `RateLimited`.
        """
        async with self._store.database.connection() as connection:
            record = await self._users.of(connection, user_id)
        if record is None:
            return False
        await self._guesses.count(record.email_lookup, client.address)
        return await self._passwords.matches(password, record.password_hash)

    async def _start(self, record: UserRecord, attempt: Attempt) -> Granted:
        async def work(unit: Unit) -> Granted:
            await self._audit.note(unit, attempt)
            now_there = await self._users.of(unit.connection, record.user_id)
            # A reset or an erasure was faster than the hash; a renewed look-up is no matter.
            if now_there is None or now_there.password_hash != record.password_hash:
                raise invalid_credentials()
            granted = await self._sessions.start(unit, record.user_id)
            self._guesses.forgive(unit, record.email_lookup, attempt.client.address)
            return granted

        return await self._store.transact(work)

    async def _exchange(
        self, user_id: UUID, token: RefreshToken, refresh_token: str, attempt: Attempt
    ) -> Granted | None:
        """The next token; None when this one was used before, which has ended its session."""

        async def work(unit: Unit) -> Granted | None:
            await self._audit.queue(unit, user_id)
            session = await self._sessions.of_family(unit.connection, token, unit.now)
            if session is None:
                raise invalid_refresh_token()
            if session.token_sha256 != token.secret_sha256:
                await self._audit.note(unit, attempt, REUSED)
                await self._sessions.decide(unit, EndSession(user_id, session.session_id, unit.now))
                return None
            await self._audit.note(unit, attempt)
            return await self._sessions.refresh(unit, session, refresh_token)

        return await self._store.transact(work)
