"""The ledger: an account promises each credit once, and each hold ends once.

Account and hold decide together, and with them the budget of a key that has a monthly limit. The
semantics of holds follow TigerBeetle's two-phase transfers (docs/coding/two-phase-transfers).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never
from uuid import UUID

from kernel.errors import Deferred, Rejected
from services.credits.domain.account import (
    Account,
    AccountEvent,
    CommitEntered,
    HoldEntered,
    ReleaseEntered,
)
from services.credits.domain.budget import (
    Budget,
    BudgetEvent,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
)
from services.credits.domain.hold import (
    Hold,
    HoldBarred,
    HoldCommitted,
    HoldEvent,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    HoldStatus,
)

INSUFFICIENT = "insufficient_credits"
LIMIT_REACHED = "monthly_credit_limit_reached"
ENDED_BEFORE = "released"


@dataclass(frozen=True, slots=True)
class MonthlyLimit:
    """What the key may spend in `month`, which is now."""

    key_id: UUID
    limit_units: int
    month: str


@dataclass(frozen=True, slots=True)
class Reserve:
    account_id: UUID
    task_id: UUID
    amount_units: int
    limit: MonthlyLimit | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """`month` is now: it counts for this one, whenever it was reserved."""

    account_id: UUID
    task_id: UUID
    amount_units: int
    month: str


@dataclass(frozen=True, slots=True)
class Release:
    account_id: UUID
    task_id: UUID


LedgerEvent: TypeAlias = AccountEvent | HoldEvent | BudgetEvent
LedgerCommand: TypeAlias = Reserve | Commit | Release


def decide(
    command: LedgerCommand, account: Account, hold: Hold, budget: Budget
) -> Sequence[LedgerEvent]:
    """What one task's command does to its hold, its account and its key's budget; `budget` is that
    of the command's limit or of the hold's key, and of no meaning without either.

    Raises `Deferred` when the account or the reservation is not known yet, `Rejected` when the
    command contradicts what is on record (a bug somewhere: it is parked for a person to see).
    """
    if hold.account_id not in {None, command.account_id}:
        raise Rejected("hold_differs", "Another account is asked for this task.")
    match command:
        case Reserve():
            return _reserve(command, account, hold, budget)
        case Commit():
            return _commit(command, account, hold, budget)
        case Release():
            return _release(command, account, hold, budget)
        case _:
            assert_never(command)


def _reserve(
    command: Reserve, account: Account, hold: Hold, budget: Budget
) -> Sequence[LedgerEvent]:
    match hold.status:
        case HoldStatus.NONE:
            pass
        case HoldStatus.BARRED:
            return (_refused(command, ENDED_BEFORE, account.available_units),)
        case _:
            if hold.amount_units != command.amount_units:
                raise Rejected("hold_differs", "This task reserved another amount before.")
            return ()
    if not account.is_open:
        raise Deferred(f"account {command.account_id} is not known yet")
    if command.amount_units > account.available_units:
        return (_refused(command, INSUFFICIENT, account.available_units),)
    limit = command.limit
    if limit is not None:
        budget = budget.in_month(limit.month)
        if budget.taken_units + command.amount_units > limit.limit_units:
            return (_limited(command, limit, budget, account.available_units),)
    placed = HoldPlaced(
        command.task_id,
        command.account_id,
        command.amount_units,
        limit.key_id if limit is not None else None,
    )
    entry = HoldEntered(
        account_id=command.account_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        granted_after=account.granted_units,
        used_after=account.used_units,
        held_after=account.held_units + command.amount_units,
    )
    if limit is None:
        return entry, placed
    held = BudgetHeld(
        key_id=limit.key_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        month=budget.month,
        used_after=budget.used_units,
        held_after=budget.held_units + command.amount_units,
    )
    return entry, placed, held


def _limited(
    command: Reserve, limit: MonthlyLimit, budget: Budget, available_units: int
) -> HoldRefused:
    return HoldRefused(
        command.task_id,
        command.account_id,
        LIMIT_REACHED,
        command.amount_units,
        available_units,
        limit_units=limit.limit_units,
        used_units=budget.taken_units,
    )


def _refused(command: Reserve, reason: str, available_units: int) -> HoldRefused:
    return HoldRefused(
        command.task_id, command.account_id, reason, command.amount_units, available_units
    )


def _commit(command: Commit, account: Account, hold: Hold, budget: Budget) -> Sequence[LedgerEvent]:
    match hold.status:
        case HoldStatus.HELD:
            pass
        case HoldStatus.NONE:
            raise Deferred(f"the reservation of task {command.task_id} is not known yet")
        case HoldStatus.COMMITTED if hold.committed_units == command.amount_units:
            return ()
        case _:
            raise Rejected("hold_ended", f"The hold has ended as {hold.status}.")
    if command.amount_units > hold.amount_units:
        raise Rejected("exceeds_hold", "A charge can't be more than what was reserved.")
    back = hold.amount_units - command.amount_units
    entry = CommitEntered(
        account_id=command.account_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        released_units=back,
        granted_after=account.granted_units,
        used_after=account.used_units + command.amount_units,
        held_after=account.held_units - hold.amount_units,
    )
    ended = HoldCommitted(command.task_id, command.account_id, command.amount_units, back)
    if hold.key_id is None:
        return entry, ended
    budget = budget.in_month(command.month)
    spent = BudgetSpent(
        key_id=hold.key_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        released_units=back,
        month=budget.month,
        used_after=budget.used_units + command.amount_units,
        held_after=budget.held_units - hold.amount_units,
    )
    return entry, ended, spent


def _release(
    command: Release, account: Account, hold: Hold, budget: Budget
) -> Sequence[LedgerEvent]:
    match hold.status:
        case HoldStatus.HELD:
            pass
        case HoldStatus.NONE:
            return (HoldBarred(command.task_id, command.account_id),)
        case HoldStatus.COMMITTED:
            raise Rejected("hold_ended", "The hold has ended as committed.")
        case HoldStatus.BARRED | HoldStatus.REFUSED | HoldStatus.RELEASED:
            return ()
        case _:
            assert_never(hold.status)
    entry = ReleaseEntered(
        account_id=command.account_id,
        task_id=command.task_id,
        amount_units=hold.amount_units,
        granted_after=account.granted_units,
        used_after=account.used_units,
        held_after=account.held_units - hold.amount_units,
    )
    ended = HoldReleased(command.task_id, command.account_id, hold.amount_units)
    if hold.key_id is None:
        return entry, ended
    held_after = budget.held_units - hold.amount_units
    return entry, ended, BudgetReleased(hold.key_id, command.task_id, hold.amount_units, held_after)
