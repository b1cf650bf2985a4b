"""The ledger: an account promises each credit once, and each hold ends once.

Account and hold decide together, and with them the budget of a key that has a monthly limit. The
semantics of holds follow TigerBeetle's two-phase transfers (docs/coding/two-phase-transfers).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from kernel.errors import Deferred, Rejected
from services.credits.domain.account import (
    ACCOUNT,
    Account,
    AccountEvent,
    CommitEntered,
    HoldEntered,
    ReleaseEntered,
    ended_lots,
    left_of,
    taken_from,
)
from services.credits.domain.budget import (
    Budget,
    BudgetEvent,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    month_of,
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
    LossEntered,
    Purpose,
)

INSUFFICIENT: Final = "insufficient_credits"
LIMIT_REACHED: Final = "monthly_credit_limit_reached"
ENDED_BEFORE: Final = "released"
LATE_CHARGE: Final = "late_charge"
LATE_DELIVERY: Final = "late_delivery"


@dataclass(frozen=True, slots=True)
class MonthlyLimit:
    """What the key may spend in the month of the command."""

    key_id: UUID
    limit_units: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """A balance that falls below `low_below_units` is said to be low."""

    account_id: UUID
    task_id: UUID
    amount_units: int
    now: datetime
    limit: MonthlyLimit | None = None
    purpose: Purpose | None = None
    low_below_units: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """It counts for the month of `now`, whenever it was reserved."""

    account_id: UUID
    task_id: UUID
    amount_units: int
    now: datetime
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    account_id: UUID
    task_id: UUID
    now: datetime
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class RecordLateDelivery:
    """A vendor made output `index` after the task had ended: nobody is charged the `amount_units`
    that it would have cost."""

    account_id: UUID
    task_id: UUID
    index: int
    amount_units: int


LedgerEvent: TypeAlias = AccountEvent | HoldEvent | BudgetEvent
LedgerCommand: TypeAlias = Reserve | Commit | Release | RecordLateDelivery


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
        case RecordLateDelivery():
            return _lost(command, hold, LATE_DELIVERY, command.index)
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
    ended, account = ended_lots(command.account_id, account, command.now, command.low_below_units)
    if command.amount_units > account.available_units:
        return *ended, _refused(command, INSUFFICIENT, account.available_units)
    limit = command.limit
    if limit is not None:
        budget = budget.in_month(month_of(command.now))
        if budget.taken_units + command.amount_units > limit.limit_units:
            return *ended, _limited(command, limit, budget, account.available_units)
    lots = taken_from(account.lots, command.amount_units)
    entry = HoldEntered(
        account_id=command.account_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        lots=lots,
        low_below_units=account.crossed(command.amount_units, command.low_below_units),
        **account.after(held=command.amount_units),
    )
    placed = HoldPlaced(
        command.task_id,
        command.account_id,
        command.amount_units,
        limit.key_id if limit is not None else None,
        lots,
        command.purpose,
    )
    if limit is None:
        return *ended, entry, placed
    held = BudgetHeld(
        key_id=limit.key_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        month=budget.month,
        used_after=budget.used_units,
        held_after=budget.held_units + command.amount_units,
    )
    return *ended, entry, placed, held


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
        case HoldStatus.RELEASED if command.amount_units <= hold.amount_units:
            return _lost(command, hold, LATE_CHARGE, None)
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
        lots=left_of(hold.lots, taken_from(hold.lots, command.amount_units)),
        **account.after(used=command.amount_units, held=-hold.amount_units),
    )
    committed = HoldCommitted(
        command.task_id,
        command.account_id,
        command.amount_units,
        back,
        command.outcome,
        hold.purpose,
    )
    events = [entry, *_ended_after(entry, command, account), committed]
    if hold.key_id is None:
        return events
    budget = budget.in_month(month_of(command.now))
    spent = BudgetSpent(
        key_id=hold.key_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        released_units=back,
        month=budget.month,
        used_after=budget.used_units + command.amount_units,
        held_after=budget.held_units - hold.amount_units,
    )
    return [*events, spent]


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
        lots=hold.lots,
        **account.after(held=-hold.amount_units),
    )
    released = HoldReleased(command.task_id, command.account_id, hold.amount_units, command.outcome)
    events = [entry, *_ended_after(entry, command, account), released]
    if hold.key_id is None:
        return events
    held_after = budget.held_units - hold.amount_units
    freed = BudgetReleased(hold.key_id, command.task_id, hold.amount_units, held_after)
    return [*events, freed]


def _ended_after(
    entry: CommitEntered | ReleaseEntered, command: Commit | Release, account: Account
) -> Sequence[LedgerEvent]:
    """What went back to a lot that has ended meanwhile ends with it, and does not come back."""
    if not entry.lots:
        return ()
    ended, _ = ended_lots(command.account_id, ACCOUNT.evolve(account, entry), command.now)
    return ended


def _lost(
    command: Commit | RecordLateDelivery, hold: Hold, reason: str, index: int | None
) -> Sequence[LedgerEvent]:
    """Each output's loss is entered once, whichever message told of it first."""
    if None in hold.lost or index in hold.lost or (index is None and hold.lost):
        return ()
    return (LossEntered(command.task_id, command.account_id, command.amount_units, reason, index),)
