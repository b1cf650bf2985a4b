"""The ledger's rules, one sentence each: an account promises each credit once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.errors import Deferred, Error, Rejected
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    ENDED_BEFORE,
    HOLD,
    INSUFFICIENT,
    LATE_CHARGE,
    LATE_DELIVERY,
    AccountOpened,
    Commit,
    CommitEntered,
    GrantEntered,
    HoldBarred,
    HoldCommitted,
    HoldEntered,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    LedgerCommand,
    LedgerEvent,
    LossEntered,
    RecordLateDelivery,
    Release,
    ReleaseEntered,
    Reserve,
    decide,
)

PAYER, STRANGER, TASK = new_id(), new_id(), new_id()
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)


def hold_entered(task: UUID, units: int, granted: int, used: int, held: int) -> HoldEntered:
    return HoldEntered(
        account_id=PAYER,
        task_id=task,
        amount_units=units,
        granted_after=granted,
        used_after=used,
        held_after=held,
    )


def release_entered(task: UUID, units: int, granted: int, used: int, held: int) -> ReleaseEntered:
    return ReleaseEntered(
        account_id=PAYER,
        task_id=task,
        amount_units=units,
        granted_after=granted,
        used_after=used,
        held_after=held,
    )


def commit_entered(
    task: UUID, units: int, released: int, granted: int, *left: int
) -> CommitEntered:
    used, held = left
    return CommitEntered(
        account_id=PAYER,
        task_id=task,
        amount_units=units,
        released_units=released,
        granted_after=granted,
        used_after=used,
        held_after=held,
    )


OPENED: tuple[LedgerEvent, ...] = (
    AccountOpened(PAYER, PAYER, "free"),
    GrantEntered(
        account_id=PAYER,
        grant_id="registration",
        reason="plan:free",
        amount_units=100,
        granted_after=100,
        used_after=0,
        held_after=0,
    ),
)
HELD = (*OPENED, hold_entered(TASK, 30, 100, 0, 30), HoldPlaced(TASK, PAYER, 30))
COMMITTED = (
    *HELD,
    commit_entered(TASK, 30, 0, 100, 30, 0),
    HoldCommitted(TASK, PAYER, 30, 0),
)
RELEASED = (*HELD, release_entered(TASK, 30, 100, 0, 0), HoldReleased(TASK, PAYER, 30))
REFUSED = (*OPENED, HoldRefused(TASK, PAYER, INSUFFICIENT, 30, 10))
BARRED = (*OPENED, HoldBarred(TASK, PAYER))

RESERVE = Reserve(PAYER, TASK, 30, NOW)
COMMIT = Commit(PAYER, TASK, 30, NOW)
RELEASE = Release(PAYER, TASK, NOW)


@dataclass(frozen=True)
class Given:
    """`given(*events).when(command).then(*events)` over account, hold and budget together."""

    history: tuple[LedgerEvent, ...]
    command: LedgerCommand | None = None

    def when(self, command: LedgerCommand) -> "Given":
        return replace(self, command=command)

    def then(self, *expected: LedgerEvent) -> None:
        assert tuple(self.decided()) == expected

    def rejected(self, code: str) -> None:
        with pytest.raises(Rejected) as refusal:
            self.decided()
        assert isinstance(refusal.value, Error)
        assert refusal.value.code == code

    def deferred(self) -> None:
        with pytest.raises(Deferred):
            self.decided()

    def decided(self) -> Sequence[LedgerEvent]:
        assert self.command is not None
        account = ACCOUNT.fold(e for e in self.history if isinstance(e, ACCOUNT.events))
        hold = HOLD.fold(e for e in self.history if isinstance(e, HOLD.events))
        budget = BUDGET.fold(e for e in self.history if isinstance(e, BUDGET.events))
        return decide(self.command, account, hold, budget)


def given(*history: LedgerEvent) -> Given:
    return Given(history)


def test_holds_what_a_task_asks_for() -> None:
    given(*OPENED).when(RESERVE).then(
        hold_entered(TASK, 30, 100, 0, 30), HoldPlaced(TASK, PAYER, 30)
    )


def test_holds_all_that_there_is() -> None:
    given(*OPENED).when(Reserve(PAYER, TASK, 100, NOW)).then(
        hold_entered(TASK, 100, 100, 0, 100), HoldPlaced(TASK, PAYER, 100)
    )


def test_refuses_a_task_that_costs_more_than_there_is() -> None:
    given(*OPENED).when(Reserve(PAYER, TASK, 101, NOW)).then(
        HoldRefused(TASK, PAYER, INSUFFICIENT, 101, 100)
    )


def test_refuses_to_promise_the_same_credits_twice() -> None:
    held = hold_entered(new_id(), 80, 100, 0, 80)
    given(*OPENED, held).when(RESERVE).then(HoldRefused(TASK, PAYER, INSUFFICIENT, 30, 20))


def test_waits_for_an_account_that_is_not_known_yet() -> None:
    given().when(RESERVE).deferred()


@pytest.mark.parametrize("history", [HELD, COMMITTED, RELEASED, REFUSED])
def test_reserving_again_changes_nothing(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(RESERVE).then()


@pytest.mark.parametrize("history", [HELD, COMMITTED, RELEASED, REFUSED])
def test_rejects_another_amount_for_the_same_task(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(Reserve(PAYER, TASK, 31, NOW)).rejected("hold_differs")


def test_charges_a_hold_as_a_whole() -> None:
    given(*HELD).when(COMMIT).then(
        commit_entered(TASK, 30, 0, 100, 30, 0), HoldCommitted(TASK, PAYER, 30, 0)
    )


def test_gives_back_what_a_charge_leaves_of_its_hold() -> None:
    given(*HELD).when(Commit(PAYER, TASK, 12, NOW)).then(
        commit_entered(TASK, 12, 18, 100, 12, 0), HoldCommitted(TASK, PAYER, 12, 18)
    )


def test_rejects_a_charge_beyond_its_hold() -> None:
    given(*HELD).when(Commit(PAYER, TASK, 31, NOW)).rejected("exceeds_hold")


def test_waits_for_the_reservation_of_a_charge() -> None:
    given(*OPENED).when(COMMIT).deferred()


def test_charging_again_changes_nothing() -> None:
    given(*COMMITTED).when(COMMIT).then()


def test_rejects_a_second_charge_of_another_amount() -> None:
    given(*COMMITTED).when(Commit(PAYER, TASK, 29, NOW)).rejected("hold_ended")


def test_a_charge_that_comes_after_the_release_is_the_platforms_loss() -> None:
    lost = LossEntered(TASK, PAYER, 30, LATE_CHARGE)
    given(*RELEASED).when(COMMIT).then(lost)
    given(*RELEASED, lost).when(COMMIT).then()


def test_what_a_vendor_delivers_too_late_is_the_platforms_loss_once_an_output() -> None:
    first, second = (LossEntered(TASK, PAYER, 15, LATE_DELIVERY, nth) for nth in range(2))
    given(*RELEASED).when(RecordLateDelivery(PAYER, TASK, 0, 15)).then(first)
    given(*RELEASED, first).when(RecordLateDelivery(PAYER, TASK, 0, 15)).then()
    given(*RELEASED, first).when(RecordLateDelivery(PAYER, TASK, 1, 15)).then(second)
    given(*RELEASED, first).when(COMMIT).then()


@pytest.mark.parametrize("history", [REFUSED, BARRED])
def test_rejects_a_charge_without_an_open_hold(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(COMMIT).rejected("hold_ended")


def test_releases_a_hold_as_a_whole() -> None:
    given(*HELD).when(RELEASE).then(
        release_entered(TASK, 30, 100, 0, 0), HoldReleased(TASK, PAYER, 30)
    )


@pytest.mark.parametrize("history", [RELEASED, REFUSED, BARRED])
def test_releasing_again_changes_nothing(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(RELEASE).then()


def test_rejects_a_release_of_what_was_charged() -> None:
    given(*COMMITTED).when(RELEASE).rejected("hold_ended")


def test_a_release_before_its_reservation_bars_it() -> None:
    given(*OPENED).when(RELEASE).then(HoldBarred(TASK, PAYER))


def test_refuses_a_reservation_that_comes_after_its_release() -> None:
    given(*BARRED).when(RESERVE).then(HoldRefused(TASK, PAYER, ENDED_BEFORE, 30, 100))


def test_a_barred_reservation_is_refused_even_without_an_account() -> None:
    given(HoldBarred(TASK, PAYER)).when(RESERVE).then(HoldRefused(TASK, PAYER, ENDED_BEFORE, 30, 0))


@pytest.mark.parametrize(
    "command",
    [
        Reserve(STRANGER, TASK, 30, NOW),
        Commit(STRANGER, TASK, 30, NOW),
        Release(STRANGER, TASK, NOW),
    ],
)
@pytest.mark.parametrize("history", [HELD, COMMITTED, RELEASED, REFUSED, BARRED])
def test_rejects_another_account_than_the_holds(
    history: tuple[LedgerEvent, ...], command: LedgerCommand
) -> None:
    given(*history).when(command).rejected("hold_differs")
