"""Signing in by Firebase: whom its user is among ours, or becomes; each tried is audited.

A Firebase user is told apart by a hash of project and uid. Theirs and ours become one only where
both sides know that the address is theirs: else whoever registered it first, at either side, would
get what the other has.
"""

import hashlib
from collections.abc import Callable
from uuid import UUID

from kernel.clock import new_id
from kernel.errors import Invalid, Rejected, Unavailable
from kernel.event_store import EventStore
from kernel.http import Client
from kernel.unit import Unit
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.adapters.firebase import FirebaseTokens, FirebaseUser
from services.keys.adapters.mail_tokens import Purpose
from services.keys.adapters.mails import Mails
from services.keys.adapters.sessions import Granted, Sessions
from services.keys.adapters.users import NewUser, Users
from services.keys.domain import USER, VerifyEmail
from services.keys.domain.audit import Action


class FirebaseSignIns:
    """`tokens` is None where no project is configured."""

    def __init__(
        self,
        store: EventStore,
        audit: AuditTrail,
        *,
        users: Users,
        sessions: Sessions,
        mails: Mails,
        tokens: FirebaseTokens | None,
    ) -> None:
        self._store = store
        self._audit = audit
        self._users = users
        self._sessions = sessions
        self._mails = mails
        self._tokens = tokens

    async def by_id_token(
        self, id_token: str, acceptable: Callable[[str], str], client: Client
    ) -> Granted:
        """Sign in, registering or linking at the first time. `acceptable` gives an address in our
        form, and raises ValueError for what is none.

        Raises:
            Unauthenticated: the token, or the user, is not good any more.
            Rejected: `email_taken`, by somebody who may be somebody else.
            Invalid: `email_required`, Firebase knows no address of this user.
            Unavailable: `not_configured`, or Google's keys can't be had.
        """
        if self._tokens is None:
            raise Unavailable("not_configured", "Signing in by Firebase is not configured here.")
        digest = hashlib.sha256(id_token.encode()).digest()
        nobodys = Attempt.in_the_name_of(None, digest, client, Action.SIGN_IN_BY_FIREBASE)
        async with self._audit.refusals(nobodys):
            user = await self._tokens.read(id_token)
            sha256 = hashlib.sha256(f"{self._tokens.project_id}:{user.uid}".encode()).digest()

            async def work(unit: Unit) -> Granted:
                user_id = await self._ours(unit, user, sha256, acceptable)
                attempt = Attempt.in_the_name_of(
                    user_id, digest, client, Action.SIGN_IN_BY_FIREBASE
                )
                await self._audit.note(unit, attempt)
                return await self._sessions.start(unit, user_id)

            return await self._store.transact(work)

    async def _ours(
        self, unit: Unit, user: FirebaseUser, sha256: bytes, acceptable: Callable[[str], str]
    ) -> UUID:
        known = await self._users.of_firebase(unit.connection, sha256)
        if known is not None:
            return known.user_id
        try:
            email = acceptable(user.email)
        except ValueError:
            raise Invalid(
                "email_required",
                "id_token: this Firebase user has no e-mail address.",
                {"field": "id_token"},
            ) from None
        holder = await self._users.holder(unit.connection, email)
        if holder is None:
            return await self._register(unit, user, email, sha256)
        ours = await unit.state(USER, USER.stream_id(holder.user_id))
        if not user.email_verified or ours.verified_at is None:
            raise Rejected("email_taken", "This address is registered; sign in by its password.")
        self._users.link_firebase(unit, holder.user_id, sha256)
        return holder.user_id

    async def _register(self, unit: Unit, user: FirebaseUser, email: str, sha256: bytes) -> UUID:
        new = NewUser(email, full_name=user.name, firebase_sha256=sha256)
        user_id = await self._users.add(unit, new_id(), new)
        if user.email_verified:
            await self._sessions.decide(unit, VerifyEmail(user_id, unit.now))
        else:
            self._mails.ask(unit, Purpose.VERIFY_EMAIL, email)
        return user_id
