"""The rules of people: who exists, in which role, and where they are signed in; it must not know
addresses, passwords or tokens.

A sign-in is a session, told apart by its id alone: what opens it is a record elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never
from uuid import UUID

from kernel.errors import NotFound, Rejected, Unauthenticated
from kernel.messages import Aggregate, Decider


class Role(StrEnum):
    USER = "user"
    MODERATOR = "moderator"
    ADMIN = "admin"


FREE_PLAN = "free"
LIVE_SESSIONS_MAX: Final = 20
"""Of one person: the next sign-in ends the oldest."""


@dataclass(frozen=True, slots=True)
class Register:
    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VerifyEmail:
    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """A new password was set by a mailed link, which shows that the address is theirs too."""

    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class StartSession:
    user_id: UUID
    session_id: UUID
    expires_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class EndSession:
    user_id: UUID
    session_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class DisableUser:
    """`by_id` is the admin who asks."""

    user_id: UUID
    by_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """`changed_at` is when credits changed it: of two changes, the later one counts."""

    user_id: UUID
    plan: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class EraseUser:
    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """A person exists. Address and name are records, never in an event."""

    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class UserVerified:
    user_id: UUID
    verified_at: datetime


@dataclass(frozen=True, slots=True)
class PasswordReset:
    user_id: UUID
    reset_at: datetime


@dataclass(frozen=True, slots=True)
class SessionStarted:
    user_id: UUID
    session_id: UUID
    expires_at: datetime
    started_at: datetime


@dataclass(frozen=True, slots=True)
class SessionRevoked:
    """A session ended before its time."""

    user_id: UUID
    session_id: UUID
    revoked_at: datetime


@dataclass(frozen=True, slots=True)
class UserDisabled:
    user_id: UUID
    account_id: UUID
    disabled_by_id: UUID
    disabled_at: datetime


@dataclass(frozen=True, slots=True)
class PlanChanged:
    user_id: UUID
    plan: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class UserErased:
    user_id: UUID
    account_id: UUID
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class LiveSession:
    session_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """`account_id` is None until somebody has registered; `sessions` are the oldest first.
    `plan_changed_at` is None while the plan is the one that they registered with."""

    account_id: UUID | None = None
    role: str = ""
    plan: str = ""
    verified_at: datetime | None = None
    disabled_at: datetime | None = None
    erased_at: datetime | None = None
    sessions: tuple[LiveSession, ...] = ()
    plan_changed_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether they may do anything at all."""
        return self.account_id is not None and self.disabled_at is None and self.erased_at is None


UserCommand = (
    Register
    | VerifyEmail
    | ResetPassword
    | StartSession
    | EndSession
    | DisableUser
    | ChangePlan
    | EraseUser
)
UserEvent = (
    UserRegistered
    | UserVerified
    | PasswordReset
    | SessionStarted
    | SessionRevoked
    | UserDisabled
    | PlanChanged
    | UserErased
)


def invalid_credentials() -> Unauthenticated:
    """One answer for whoever may not sign in, whatever the reason."""
    return Unauthenticated("invalid_credentials", "The address or the password is wrong.")


def user_not_found() -> NotFound:
    return NotFound("user_not_found", "There is no such user.")


def _decide_user(command: UserCommand, state: User) -> Sequence[UserEvent]:
    match command:
        case Register():
            return _register(command, state)
        case VerifyEmail():
            _account_of(state)
            return _verified(command.user_id, command.at, state)
        case ResetPassword():
            _account_of(state)
            return (
                PasswordReset(command.user_id, command.at),
                *_verified(command.user_id, command.at, state),
                *_ended(command.user_id, command.at, state.sessions),
            )
        case StartSession():
            return _start(command, state)
        case EndSession():
            live = tuple(one for one in state.sessions if one.session_id == command.session_id)
            return _ended(command.user_id, command.at, live)
        case DisableUser():
            return _disable(command, state)
        case ChangePlan():
            return _change_plan(command, state)
        case EraseUser():
            erased = UserErased(command.user_id, _account_of(state), command.at)
            return (*_ended(command.user_id, command.at, state.sessions), erased)
        case _:
            assert_never(command)


def _account_of(state: User) -> UUID:
    """Raises `NotFound` for whom nobody is, or nobody is any more."""
    if state.account_id is None or state.erased_at is not None:
        raise user_not_found()
    return state.account_id


def _register(command: Register, state: User) -> Sequence[UserEvent]:
    if state.account_id is not None:
        raise Rejected("user_exists", "This user has registered before.")
    return (
        UserRegistered(command.user_id, command.account_id, command.role, command.plan, command.at),
    )


def _verified(user_id: UUID, at: datetime, state: User) -> Sequence[UserEvent]:
    return () if state.verified_at is not None else (UserVerified(user_id, at),)


def _start(command: StartSession, state: User) -> Sequence[UserEvent]:
    if not state.is_active:
        raise invalid_credentials()
    if any(one.session_id == command.session_id for one in state.sessions):
        raise Rejected("session_exists", "This session has started before.")
    live = [one for one in state.sessions if one.expires_at > command.at]
    surplus = live[: max(0, len(live) + 1 - LIVE_SESSIONS_MAX)]
    started = SessionStarted(command.user_id, command.session_id, command.expires_at, command.at)
    return (*_ended(command.user_id, command.at, surplus), started)


def _ended(user_id: UUID, at: datetime, sessions: Sequence[LiveSession]) -> Sequence[UserEvent]:
    return tuple(SessionRevoked(user_id, one.session_id, at) for one in sessions)


def _disable(command: DisableUser, state: User) -> Sequence[UserEvent]:
    account_id = _account_of(state)
    if command.by_id == command.user_id:
        raise Rejected("own_account", "You can't disable yourself.")
    if state.disabled_at is not None:
        return ()
    disabled = UserDisabled(command.user_id, account_id, command.by_id, command.at)
    return (*_ended(command.user_id, command.at, state.sessions), disabled)


def _change_plan(command: ChangePlan, state: User) -> Sequence[UserEvent]:
    """Nothing for what is older than what is known, nor for who is erased. One that leaves the plan
    as it is counts too: what is older than it may still come."""
    if state.account_id is None:
        raise user_not_found()
    known_at = state.plan_changed_at
    if state.erased_at is not None or (known_at is not None and command.changed_at <= known_at):
        return ()
    return (PlanChanged(command.user_id, command.plan, command.changed_at),)


def _evolve_user(state: User, event: UserEvent) -> User:
    match event:
        case UserRegistered():
            return User(event.account_id, event.role, event.plan)
        case UserVerified():
            return replace(state, verified_at=event.verified_at)
        case PasswordReset():
            return state
        case SessionStarted():
            live = (one for one in state.sessions if one.expires_at > event.started_at)
            started = LiveSession(event.session_id, event.expires_at)
            return replace(state, sessions=(*live, started))
        case SessionRevoked():
            left = tuple(one for one in state.sessions if one.session_id != event.session_id)
            return replace(state, sessions=left)
        case UserDisabled():
            return replace(state, disabled_at=event.disabled_at)
        case PlanChanged():
            return replace(state, plan=event.plan, plan_changed_at=event.changed_at)
        case UserErased():
            return replace(state, erased_at=event.erased_at)
        case _:
            assert_never(event)


USER: Aggregate[UserEvent, User] = Aggregate(
    name="user",
    state=User,
    initial_state=User,
    evolve=_evolve_user,
    events=(
        UserRegistered,
        UserVerified,
        PasswordReset,
        SessionStarted,
        SessionRevoked,
        UserDisabled,
        PlanChanged,
        UserErased,
    ),
)
USERS: Decider[UserCommand, UserEvent, User] = Decider(USER, _decide_user)
