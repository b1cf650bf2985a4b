"""The rules of people: who exists, in which role; it must not know addresses or passwords."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from kernel.errors import Rejected
from kernel.messages import Aggregate, Decider


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


FREE_PLAN = "free"


@dataclass(frozen=True, slots=True)
class Register:
    user_id: UUID
    account_id: UUID
    role: str
    plan: str
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
class User:
    """`account_id` is None until somebody has registered."""

    account_id: UUID | None = None
    role: str = ""
    plan: str = ""


UserEvent = UserRegistered


def _decide_user(command: Register, state: User) -> Sequence[UserEvent]:
    if state.account_id is not None:
        raise Rejected("user_exists", "This user has registered before.")
    return (
        UserRegistered(command.user_id, command.account_id, command.role, command.plan, command.at),
    )


def _evolve_user(_: User, event: UserEvent) -> User:
    return User(event.account_id, event.role, event.plan)


USER: Aggregate[UserEvent, User] = Aggregate(
    name="user", state=User, initial_state=User, evolve=_evolve_user, events=(UserRegistered,)
)
REGISTRATION: Decider[Register, UserEvent, User] = Decider(USER, _decide_user)
