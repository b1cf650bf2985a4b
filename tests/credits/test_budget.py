"""The monthly limit of an API key, one sentence each: this month's spending and all open holds."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from kernel.clock import new_id
from services.credits.domain import (
    BUDGET,
    INSUFFICIENT,
    LIMIT_REACHED,
    Budget,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    Commit,
    HoldCommitted,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    LedgerEvent,
    MonthlyLimit,
    Release,
    Reserve,
    month_of,
)
from tests.credits.test_domain import (
    NOW,
    OPENED,
    PAYER,
    TASK,
    commit_entered,
    given,
    hold_entered,
    release_entered,
)

KEY, OTHER = new_id(), new_id()
OCTOBER, NOVEMBER, DECEMBER = "2026-10", "2026-11", "2026-12"
IN_DECEMBER = NOW.replace(month=12)
LIMITED = Reserve(PAYER, TASK, 30, NOW, MonthlyLimit(KEY, 50))
HELD: tuple[LedgerEvent, ...] = (
    *OPENED,
    hold_entered(TASK, 30, 100, 0, 30),
    HoldPlaced(TASK, PAYER, 30, KEY),
    BudgetHeld(KEY, TASK, 30, NOVEMBER, 0, 30),
)


def held(units: int, month: str = NOVEMBER) -> BudgetHeld:
    """By another task of the key."""
    return BudgetHeld(KEY, OTHER, units, month, 0, units)


def spent(units: int, month: str = NOVEMBER) -> BudgetSpent:
    return BudgetSpent(KEY, OTHER, units, 0, month, units, 0)


def refused(used: int, limit: int = 50) -> HoldRefused:
    return HoldRefused(TASK, PAYER, LIMIT_REACHED, 30, 100, limit, used)


def placed(used: int, held: int, month: str = NOVEMBER) -> tuple[LedgerEvent, ...]:
    return (
        hold_entered(TASK, 30, 100, 0, 30),
        HoldPlaced(TASK, PAYER, 30, KEY),
        BudgetHeld(KEY, TASK, 30, month, used, held),
    )


def test_a_hold_of_a_limited_key_counts_against_its_budget() -> None:
    given(*OPENED).when(LIMITED).then(*placed(0, 30))


def test_what_comes_to_the_limit_exactly_is_held() -> None:
    given(*OPENED, spent(20)).when(LIMITED).then(*placed(20, 30))


def test_refuses_what_the_month_has_no_room_for_and_says_how_far_it_is() -> None:
    given(*OPENED, spent(21)).when(LIMITED).then(refused(21))


def test_what_is_held_counts_as_spent() -> None:
    given(*OPENED, held(21)).when(LIMITED).then(refused(21))


def test_a_limit_of_nothing_refuses_all() -> None:
    command = Reserve(PAYER, TASK, 30, NOW, MonthlyLimit(KEY, 0))
    given(*OPENED).when(command).then(refused(0, limit=0))


def test_a_balance_that_is_short_is_told_before_a_limit_that_is_reached() -> None:
    command = Reserve(PAYER, TASK, 101, NOW, MonthlyLimit(KEY, 50))
    given(*OPENED).when(command).then(HoldRefused(TASK, PAYER, INSUFFICIENT, 101, 100))


def test_a_new_month_begins_with_nothing_spent() -> None:
    given(*OPENED, spent(50, OCTOBER)).when(LIMITED).then(*placed(0, 30))


def test_what_is_held_since_last_month_still_counts() -> None:
    given(*OPENED, held(21, OCTOBER)).when(LIMITED).then(refused(21))


def test_a_clock_that_is_behind_opens_no_month_again() -> None:
    given(*OPENED, spent(21, DECEMBER)).when(LIMITED).then(refused(21))
    given(*OPENED, spent(20, DECEMBER)).when(LIMITED).then(*placed(20, 30, DECEMBER))


def test_a_charge_counts_for_the_month_in_which_it_is_made() -> None:
    given(*HELD).when(Commit(PAYER, TASK, 30, IN_DECEMBER)).then(
        commit_entered(TASK, 30, 0, 100, 30, 0),
        HoldCommitted(TASK, PAYER, 30, 0),
        BudgetSpent(KEY, TASK, 30, 0, DECEMBER, 30, 0),
    )


def test_a_charge_of_a_part_gives_back_the_rest() -> None:
    given(*HELD).when(Commit(PAYER, TASK, 12, NOW)).then(
        commit_entered(TASK, 12, 18, 100, 12, 0),
        HoldCommitted(TASK, PAYER, 12, 18),
        BudgetSpent(KEY, TASK, 12, 18, NOVEMBER, 12, 0),
    )


def test_a_release_gives_back() -> None:
    given(*HELD).when(Release(PAYER, TASK, NOW)).then(
        release_entered(TASK, 30, 100, 0, 0),
        HoldReleased(TASK, PAYER, 30),
        BudgetReleased(KEY, TASK, 30, 0),
    )


def test_a_release_leaves_what_the_month_has_spent() -> None:
    after = BudgetHeld(KEY, OTHER, 29, NOVEMBER, 21, 29)
    history = (spent(21), after, BudgetReleased(KEY, OTHER, 29, 0))
    assert BUDGET.fold(history) == Budget(NOVEMBER, 21, 0)


@pytest.mark.parametrize(
    "ending",
    [
        (release_entered(TASK, 30, 100, 0, 0), HoldReleased(TASK, PAYER, 30)),
        (commit_entered(TASK, 30, 0, 100, 30, 0), HoldCommitted(TASK, PAYER, 30, 0)),
        (),
    ],
)
def test_reserving_again_takes_nothing_twice(ending: tuple[LedgerEvent, ...]) -> None:
    given(*HELD, *ending).when(LIMITED).then()


def test_a_refusal_stays_when_the_month_has_room_again() -> None:
    given(*OPENED, refused(21)).when(LIMITED).then()


def test_months_are_those_of_utc() -> None:
    last = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    assert (month_of(last), month_of(last + timedelta(seconds=1))) == (NOVEMBER, DECEMBER)
    east = timezone(timedelta(hours=7))
    assert month_of(datetime(2026, 12, 1, 6, 59, tzinfo=east)) == NOVEMBER
