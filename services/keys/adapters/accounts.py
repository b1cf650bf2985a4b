"""What people do with their accounts, and admins with those of others; each tried is audited."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import UUID

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.http import Client, Identity
from kernel.unit import Unit
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.adapters.belongings import Belongings
from services.keys.adapters.mail_tokens import MailTokens, Purpose, token_digest
from services.keys.adapters.mails import Mails
from services.keys.adapters.passwords import Passwords
from services.keys.adapters.sessions import Sessions
from services.keys.adapters.users import EMAIL, NewUser, UserRecord, Users, normalised
from services.keys.domain import (
    USER,
    DisableUser,
    EraseUser,
    ResetPassword,
    VerifyEmail,
    user_not_found,
)
from services.keys.domain.audit import Action


class Accounts:
    def __init__(
        self,
        store: EventStore,
        audit: AuditTrail,
        *,
        users: Users,
        passwords: Passwords,
        sessions: Sessions,
        tokens: MailTokens,
        mails: Mails,
        belongings: Belongings,
    ) -> None:
        self._store = store
        self._audit = audit
        self._users = users
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._mails = mails
        self._belongings = belongings

    async def register(
        self, email: str, password: str, full_name: str | None, client: Client
    ) -> UUID:
        """A new user, who is sent a link. Raises `Rejected` (`email_taken`)."""
        lookup, user_id = self._users.lookup(email), new_id()
        new = NewUser(email, await self._passwords.hash(password), full_name)
        attempt = Attempt.in_the_name_of(user_id, lookup, client, Action.REGISTER)
        holder = await self._users.find(email)
        refused = Attempt.in_the_name_of(holder, lookup, client, Action.REGISTER)

        async def work(unit: Unit) -> UUID:
            await self._users.add(unit, user_id, new)
            self._mails.ask(unit, Purpose.VERIFY_EMAIL, email)
            await self._audit.note(unit, attempt)
            return user_id

        async with self._audit.refusals(refused):
            return await self._store.transact(work)

    async def verify_email(self, token: str, client: Client) -> UUID:
        """Raises `Invalid` (`invalid_token`)."""
        user_id, attempt = await self._answered(token, Purpose.VERIFY_EMAIL, client)

        async def work(unit: Unit) -> UUID:
            await self._audit.queue(unit, user_id)
            await self._tokens.owner(unit.connection, token, Purpose.VERIFY_EMAIL, unit.now)
            await self._audit.note(unit, attempt)
            await self._sessions.decide(unit, VerifyEmail(user_id, unit.now))
            self._tokens.spend(unit, user_id, Purpose.VERIFY_EMAIL)
            return user_id

        async with self._audit.refusals(attempt):
            return await self._store.transact(work)

    async def forget_password(self, email: str, client: Client) -> None:
        """Have a link sent to whoever has the address; nothing tells whether anybody has."""
        async with self._store.database.connection() as connection:
            record = await self._users.holder(connection, email)
        lookup = self._users.lookup(email) if record is None else record.email_lookup
        whose = None if record is None else record.user_id
        attempt = Attempt.in_the_name_of(whose, lookup, client, Action.FORGET_PASSWORD)

        async def work(unit: Unit) -> None:
            await self._audit.note(unit, attempt)
            self._mails.ask(unit, Purpose.RESET_PASSWORD, email)

        await self._store.transact(work)

    async def reset_password(self, token: str, password: str, client: Client) -> None:
        """Set a new password and end all sessions; of an account whose address nobody had shown to
        be theirs, everything else that opens it too. Raises `Invalid` (`invalid_token`)."""
        user_id, attempt = await self._answered(token, Purpose.RESET_PASSWORD, client)
        password_hash = await self._passwords.hash(password)
        before, _ = await self._store.read(USER, USER.stream_id(user_id))

        async def work(unit: Unit) -> None:
            await self._audit.queue(unit, user_id)
            await self._tokens.owner(unit.connection, token, Purpose.RESET_PASSWORD, unit.now)
            await self._audit.note(unit, attempt)
            user = await unit.state(USER, USER.stream_id(user_id))
            if user.verified_at is None:
                # Whoever registered this address had not shown that it is theirs.
                self._users.link_firebase(unit, user_id, None)
                await self._belongings.drop(unit, user_id)
            await self._sessions.decide(unit, ResetPassword(user_id, unit.now))
            self._users.set_password(unit, user_id, password_hash)
            self._tokens.spend(unit, user_id, *Purpose)

        async with self._audit.refusals(attempt):
            if before.verified_at is None:
                # First, so that the link is good for another try if this is broken off; and again
                # for keys that were made meanwhile, by sessions that have ended then.
                await self._belongings.revoke_keys(attempt)
            await self._store.transact(work)
            if before.verified_at is None:
                await self._belongings.revoke_keys(attempt)

    async def rename(
        self, caller: Identity, changes: Mapping[str, str | None], client: Client
    ) -> None:
        """Take `changes` as `Users.rename` does. Raises `Rejected`, `NotFound`."""
        attempt = Attempt.by(caller, client, Action.UPDATE_USER)

        async def work(unit: Unit) -> None:
            await self._audit.note(unit, attempt)
            await self._there(unit, caller.user_id)
            await self._users.rename(unit, caller.user_id, changes)

        async with self._audit.refusals(attempt):
            await self._store.transact(work)

    def refused_erasure(
        self, caller: Identity, client: Client
    ) -> AbstractAsyncContextManager[None]:
        """Enter whatever refuses, in the block, that the caller be erased."""
        return self._audit.refusals(Attempt.by(caller, client, Action.ERASE_USER))

    async def erase(self, caller: Identity, client: Client) -> None:
        """Forget the caller for ever. What they may show for it is checked before."""
        attempt = Attempt.by(caller, client, Action.ERASE_USER)

        async def work(unit: Unit) -> None:
            await self._audit.note(unit, attempt)
            record = await self._there(unit, caller.user_id)
            await self._sessions.decide(unit, EraseUser(caller.user_id, unit.now))
            self._users.forget(unit, record)  # with where this very request came from

        await self._store.transact(work)

    def refused_disabling(
        self, caller: Identity, client: Client
    ) -> AbstractAsyncContextManager[None]:
        """Enter, in the caller's log, whatever refuses in the block that they disable somebody."""
        return self._audit.refusals(Attempt.by(caller, client, Action.DISABLE_USER))

    async def disable(self, caller: Identity, user_id: UUID, client: Client) -> None:
        """Shut the user out, by an admin; in the user's log. Raises `NotFound`, `Rejected`."""
        refused = Attempt.by(caller, client, Action.DISABLE_USER)
        attempt = replace(refused, user_id=user_id)

        async def work(unit: Unit) -> None:
            await self._sessions.decide(unit, DisableUser(user_id, caller.user_id, unit.now))
            await self._audit.note(unit, attempt)

        async with self._audit.refusals(refused):
            await self._store.transact(work)

    async def confirms(self, user_id: UUID, email: str) -> bool:
        """Whether that is the user's own address."""
        return (await self._users.personal(user_id)).get(EMAIL) == normalised(email)

    async def has_password(self, user_id: UUID) -> bool:
        """Raises `NotFound`."""
        async with self._store.database.connection() as connection:
            record = await self._users.of(connection, user_id)
        if record is None:
            raise user_not_found()
        return record.password_hash is not None

    async def _there(self, unit: Unit, user_id: UUID) -> UserRecord:
        record = await self._users.of(unit.connection, user_id)
        if record is None:
            raise user_not_found()
        return record

    async def _answered(self, token: str, purpose: Purpose, client: Client) -> tuple[UUID, Attempt]:
        """Whose token it is, and their attempt. Raises `Invalid`, entered where nobody's are."""
        action = Action(purpose.value)
        nobodys = Attempt.in_the_name_of(None, token_digest(token), client, action)
        async with (
            self._audit.refusals(nobodys),
            self._store.database.connection() as connection,
        ):
            now = self._store.clock.now()
            user_id = await self._tokens.owner(connection, token, purpose, now)
        return user_id, replace(nobodys, user_id=user_id, actor_id=user_id)
