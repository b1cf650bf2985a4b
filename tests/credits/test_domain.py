"""The ledger's rules, one sentence each: an account promises each credit once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from kernel.clock import new_id
from kernel.errors import Deferred, Error, Rejected
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    ENDED_BEFORE,
    HOLD,
    INSUFFICIENT,
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
    OpenAccount,
    Release,
    ReleaseEntered,
    Reserve,
    decide,
    open_account,
)

PAYER, STRANGER, TASK = new_id(), new_id(), new_id()
OPENED: tuple[LedgerEvent, ...] = (
    AccountOpened(PAYER, PAYER, "free"),
    GrantEntered(PAYER, "registration", "plan:free", 100, 100, 0, 0),
)
HELD = (*OPENED, HoldEntered(PAYER, TASK, 30, 100, 0, 30), HoldPlaced(TASK, PAYER, 30))
COMMITTED = (
    *HELD,
    CommitEntered(PAYER, TASK, 30, 0, 100, 30, 0),
    HoldCommitted(TASK, PAYER, 30, 0),
)
RELEASED = (*HELD, ReleaseEntered(PAYER, TASK, 30, 100, 0, 0), HoldReleased(TASK, PAYER, 30))
REFUSED = (*OPENED, HoldRefused(TASK, PAYER, INSUFFICIENT, 30, 10))
BARRED = (*OPENED, HoldBarred(TASK, PAYER))

RESERVE = Reserve(PAYER, TASK, 30)
COMMIT = Commit(PAYER, TASK, 30, "2026-11")
RELEASE = Release(PAYER, TASK)


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


def test_opens_an_account_with_its_plans_grant() -> None:
    command = OpenAccount(PAYER, PAYER, "free", "registration", 100)
    assert tuple(open_account(command, ACCOUNT.initial_state())) == OPENED


def test_opens_an_account_of_a_plan_without_grant_empty() -> None:
    command = OpenAccount(PAYER, PAYER, "none", "registration", 0)
    assert open_account(command, ACCOUNT.initial_state()) == (AccountOpened(PAYER, PAYER, "none"),)


def test_grants_nothing_to_an_account_that_is_open() -> None:
    command = OpenAccount(PAYER, PAYER, "free", "registration", 100)
    assert open_account(command, ACCOUNT.fold(OPENED)) == ()  # type: ignore[arg-type]  # all are the account's


def test_holds_what_a_task_asks_for() -> None:
    given(*OPENED).when(RESERVE).then(
        HoldEntered(PAYER, TASK, 30, 100, 0, 30), HoldPlaced(TASK, PAYER, 30)
    )


def test_holds_all_that_there_is() -> None:
    given(*OPENED).when(Reserve(PAYER, TASK, 100)).then(
        HoldEntered(PAYER, TASK, 100, 100, 0, 100), HoldPlaced(TASK, PAYER, 100)
    )


def test_refuses_a_task_that_costs_more_than_there_is() -> None:
    given(*OPENED).when(Reserve(PAYER, TASK, 101)).then(
        HoldRefused(TASK, PAYER, INSUFFICIENT, 101, 100)
    )


def test_refuses_to_promise_the_same_credits_twice() -> None:
    held = HoldEntered(PAYER, new_id(), 80, 100, 0, 80)
    given(*OPENED, held).when(RESERVE).then(HoldRefused(TASK, PAYER, INSUFFICIENT, 30, 20))


def test_waits_for_an_account_that_is_not_known_yet() -> None:
    given().when(RESERVE).deferred()


@pytest.mark.parametrize("history", [HELD, COMMITTED, RELEASED, REFUSED])
def test_reserving_again_changes_nothing(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(RESERVE).then()


@pytest.mark.parametrize("history", [HELD, COMMITTED, RELEASED, REFUSED])
def test_rejects_another_amount_for_the_same_task(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(Reserve(PAYER, TASK, 31)).rejected("hold_differs")


def test_charges_a_hold_as_a_whole() -> None:
    given(*HELD).when(COMMIT).then(
        CommitEntered(PAYER, TASK, 30, 0, 100, 30, 0), HoldCommitted(TASK, PAYER, 30, 0)
    )


def test_gives_back_what_a_charge_leaves_of_its_hold() -> None:
    given(*HELD).when(Commit(PAYER, TASK, 12, "2026-11")).then(
        CommitEntered(PAYER, TASK, 12, 18, 100, 12, 0), HoldCommitted(TASK, PAYER, 12, 18)
    )


def test_rejects_a_charge_beyond_its_hold() -> None:
    given(*HELD).when(Commit(PAYER, TASK, 31, "2026-11")).rejected("exceeds_hold")


def test_waits_for_the_reservation_of_a_charge() -> None:
    given(*OPENED).when(COMMIT).deferred()


def test_charging_again_changes_nothing() -> None:
    given(*COMMITTED).when(COMMIT).then()


def test_rejects_a_second_charge_of_another_amount() -> None:
    given(*COMMITTED).when(Commit(PAYER, TASK, 29, "2026-11")).rejected("hold_ended")


@pytest.mark.parametrize("history", [RELEASED, REFUSED, BARRED])
def test_rejects_a_charge_without_an_open_hold(history: tuple[LedgerEvent, ...]) -> None:
    given(*history).when(COMMIT).rejected("hold_ended")


def test_releases_a_hold_as_a_whole() -> None:
    given(*HELD).when(RELEASE).then(
        ReleaseEntered(PAYER, TASK, 30, 100, 0, 0), HoldReleased(TASK, PAYER, 30)
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
    [Reserve(STRANGER, TASK, 30), Commit(STRANGER, TASK, 30, "2026-11"), Release(STRANGER, TASK)],
)
@pytest.mark.parametrize("history", [HELD, COMMITTED, RELEASED, REFUSED, BARRED])
def test_rejects_another_account_than_the_holds(
    history: tuple[LedgerEvent, ...], command: LedgerCommand
) -> None:
    given(*history).when(command).rejected("hold_differs")
