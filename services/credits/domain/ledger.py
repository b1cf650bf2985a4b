"""The ledger: an account promises each credit once, and each hold ends once.

Account and hold decide together. The semantics of holds follow TigerBeetle's two-phase transfers
(docs/coding/two-phase-transfers).
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
ENDED_BEFORE = "released"


@dataclass(frozen=True, slots=True)
class Reserve:
    account_id: UUID
    task_id: UUID
    amount_units: int


@dataclass(frozen=True, slots=True)
class Commit:
    account_id: UUID
    task_id: UUID
    amount_units: int


@dataclass(frozen=True, slots=True)
class Release:
    account_id: UUID
    task_id: UUID


LedgerEvent: TypeAlias = AccountEvent | HoldEvent
LedgerCommand: TypeAlias = Reserve | Commit | Release


def decide(command: LedgerCommand, account: Account, hold: Hold) -> Sequence[LedgerEvent]:
    """What one task's command does to its hold and its account.

    Raises `Deferred` when the account or the reservation is not known yet, `Rejected` when the
    command contradicts what is on record (a bug somewhere: it is parked for a person to see).
    """
    if hold.account_id not in {None, command.account_id}:
        raise Rejected("hold_differs", "Another account is asked for this task.")
    match command:
        case Reserve():
            return _reserve(command, account, hold)
        case Commit():
            return _commit(command, account, hold)
        case Release():
            return _release(command, account, hold)
        case _:
            assert_never(command)


def _reserve(command: Reserve, account: Account, hold: Hold) -> Sequence[LedgerEvent]:
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
    placed = HoldPlaced(command.task_id, command.account_id, command.amount_units)
    entry = HoldEntered(
        account_id=command.account_id,
        task_id=command.task_id,
        amount_units=command.amount_units,
        granted_after=account.granted_units,
        used_after=account.used_units,
        held_after=account.held_units + command.amount_units,
    )
    return entry, placed


def _refused(command: Reserve, reason: str, available_units: int) -> HoldRefused:
    return HoldRefused(
        command.task_id, command.account_id, reason, command.amount_units, available_units
    )


def _commit(command: Commit, account: Account, hold: Hold) -> Sequence[LedgerEvent]:
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
    return entry, ended


def _release(command: Release, account: Account, hold: Hold) -> Sequence[LedgerEvent]:
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
    return entry, HoldReleased(command.task_id, command.account_id, hold.amount_units)
