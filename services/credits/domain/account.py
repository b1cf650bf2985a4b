"""An account: its events are its ledger entries, in order, each with the balance after it.

It stays small however many tasks it pays. Amounts are integers of 1/10,000 credit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never
from uuid import UUID

from kernel.messages import Aggregate


@dataclass(frozen=True, slots=True)
class AccountOpened:
    account_id: UUID
    user_id: UUID
    plan: str


@dataclass(frozen=True, slots=True)
class GrantEntered:
    account_id: UUID
    grant_id: str
    reason: str
    amount_units: int
    granted_after: int
    used_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class HoldEntered:
    account_id: UUID
    task_id: UUID
    amount_units: int
    granted_after: int
    used_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class CommitEntered:
    """`amount_units` became used; `released_units` more were held and went back."""

    account_id: UUID
    task_id: UUID
    amount_units: int
    released_units: int
    granted_after: int
    used_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class ReleaseEntered:
    account_id: UUID
    task_id: UUID
    amount_units: int
    granted_after: int
    used_after: int
    held_after: int


Entry: TypeAlias = GrantEntered | HoldEntered | CommitEntered | ReleaseEntered
AccountEvent: TypeAlias = AccountOpened | Entry


@dataclass(frozen=True, slots=True)
class Account:
    """`granted - used - held` is available, and never negative."""

    is_open: bool = False
    granted_units: int = 0
    used_units: int = 0
    held_units: int = 0

    @property
    def available_units(self) -> int:
        return self.granted_units - self.used_units - self.held_units


def _evolve_account(state: Account, event: AccountEvent) -> Account:
    match event:
        case AccountOpened():
            return replace(state, is_open=True)
        case GrantEntered() | HoldEntered() | CommitEntered() | ReleaseEntered():
            return replace(
                state,
                granted_units=event.granted_after,
                used_units=event.used_after,
                held_units=event.held_after,
            )
        case _:
            assert_never(event)


ACCOUNT: Aggregate[AccountEvent, Account] = Aggregate(
    name="account",
    state=Account,
    initial_state=Account,
    evolve=_evolve_account,
    events=(AccountOpened, GrantEntered, HoldEntered, CommitEntered, ReleaseEntered),
)


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """`grant_units` are the plan's; `grant_id` makes the grant once."""

    account_id: UUID
    user_id: UUID
    plan: str
    grant_id: str
    grant_units: int


def open_account(command: OpenAccount, account: Account) -> Sequence[AccountEvent]:
    """The account and the plan's first grant; nothing when it is open already."""
    if account.is_open:
        return ()
    opened = AccountOpened(command.account_id, command.user_id, command.plan)
    if command.grant_units == 0:
        return (opened,)
    grant = GrantEntered(
        account_id=command.account_id,
        grant_id=command.grant_id,
        reason=f"plan:{command.plan}",
        amount_units=command.grant_units,
        granted_after=account.granted_units + command.grant_units,
        used_after=account.used_units,
        held_after=account.held_units,
    )
    return opened, grant
