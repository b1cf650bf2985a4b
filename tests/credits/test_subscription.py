"""Plans and their months, one sentence each."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import new_id
from kernel.errors import Deferred, NotFound, Rejected
from services.credits.domain import (
    ACCOUNT,
    BALANCE_UNITS_MAX,
    PLANS,
    SUBSCRIPTION,
    Account,
    AccountOpened,
    CatchUp,
    ChangePlan,
    DefinePlan,
    ExpiryEntered,
    GrantEntered,
    OpenAccount,
    PeriodBegun,
    Plan,
    PlanChanged,
    PlanDefined,
    PlanTerms,
    Subscription,
    catch_up,
    change_plan,
    month_after,
    open_account,
)
from tests.credits.test_domain import NOW, PAYER

ADMIN = new_id()
FREE, STUDIO = PlanTerms("Free", 100), PlanTerms("Studio", 1_000, roll_over=True)
OPENING = OpenAccount(PAYER, PAYER, "free", NOW)
DAY = timedelta(days=1)


class Life:
    """One account and its subscription, living through time."""

    def __init__(self, terms: PlanTerms = FREE) -> None:
        self.account, self.subscription = Account(), Subscription()
        self.plans = {"free": Plan(terms), "studio": Plan(STUDIO)}
        self.take(open_account(OPENING, self.account, self.plans["free"]))

    def take(self, events: object) -> list[object]:
        assert isinstance(events, list | tuple)
        for event in events:
            if isinstance(event, SUBSCRIPTION.events):
                self.subscription = SUBSCRIPTION.evolve(self.subscription, event)
            else:
                self.account = ACCOUNT.evolve(self.account, event)
        return list(events)

    def catch_up(self, now: datetime) -> list[object]:
        plan = self.plans[self.subscription.plan_id]
        return self.take(catch_up(CatchUp(PAYER, now), self.subscription, self.account, plan))

    def change(self, plan_id: str, now: datetime = NOW + DAY) -> list[object]:
        command = ChangePlan(PAYER, PAYER, plan_id, ADMIN, now)
        plan = self.plans.get(plan_id, Plan())
        return self.take(change_plan(command, self.subscription, self.account, plan))

    def spend(self, units: int) -> None:
        self.account = replace(
            self.account,
            used_units=self.account.used_units + units,
            lots=tuple(replace(lot, units=lot.units - units) for lot in self.account.lots),
        )


def kinds(events: list[object]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_opening_grants_the_plans_month_which_ends_with_it() -> None:
    life = Life()
    [lot] = life.account.lots
    assert (lot.units, lot.expires_at) == (100, datetime(2026, 12, 15, 12, tzinfo=UTC))
    assert life.subscription.ends_at == lot.expires_at


def test_opening_again_changes_nothing() -> None:
    life = Life()
    assert open_account(OPENING, life.account, Plan(FREE)) == ()


def test_a_plan_that_grants_nothing_opens_an_empty_account() -> None:
    events = open_account(OPENING, Account(), Plan(PlanTerms("None", 0)))
    assert kinds(list(events)) == ["PeriodBegun", "AccountOpened"]


def test_opening_waits_for_a_plan_that_nobody_has_defined() -> None:
    with pytest.raises(Deferred):
        open_account(OPENING, Account(), Plan())


def test_nothing_is_due_within_the_month() -> None:
    assert Life().catch_up(NOW + 29 * DAY) == []


def test_a_new_month_is_granted_and_the_rest_of_the_old_one_ends() -> None:
    life = Life()
    life.spend(30)
    events = life.catch_up(month_after(NOW, 1))
    assert kinds(events) == ["ExpiryEntered", "PeriodBegun", "GrantEntered"]
    assert life.account.available_units == 100
    assert life.account.granted_units == 130


def test_a_month_is_granted_once_however_often_it_is_noticed() -> None:
    life = Life()
    life.catch_up(month_after(NOW, 1))
    assert life.catch_up(month_after(NOW, 1) + DAY) == []


def test_a_plan_that_rolls_over_keeps_what_is_left() -> None:
    life = Life(replace(FREE, roll_over=True))
    assert kinds(life.catch_up(month_after(NOW, 1))) == ["PeriodBegun", "GrantEntered"]
    assert life.account.available_units == 200
    assert life.account.lots == ()


def test_months_that_passed_unnoticed_are_not_made_up_for() -> None:
    life = Life()
    life.catch_up(month_after(NOW, 5) + DAY)
    assert life.subscription.nth == 5
    assert life.account.available_units == 100
    assert life.subscription.ends_at == month_after(NOW, 6)


def test_a_new_month_is_granted_by_the_terms_of_then() -> None:
    life = Life()
    life.plans["free"] = Plan(replace(FREE, monthly_units=70))
    life.catch_up(month_after(NOW, 1))
    assert life.account.available_units == 70


def test_a_plan_never_grants_more_than_an_account_can_have() -> None:
    life = Life(replace(FREE, roll_over=True))
    life.account = replace(life.account, granted_units=BALANCE_UNITS_MAX - 5)
    life.catch_up(month_after(NOW, 1))
    assert life.account.granted_units == BALANCE_UNITS_MAX


def test_another_plan_begins_at_once_with_its_own_grant() -> None:
    life = Life()
    events = life.change("studio")
    assert kinds(events) == ["ExpiryEntered", "PlanChanged", "PeriodBegun", "GrantEntered"]
    assert (life.subscription.plan_id, life.subscription.since) == ("studio", NOW + DAY)
    assert life.account.available_units == 1_000


def test_going_to_and_fro_between_plans_gains_nothing() -> None:
    life = Life()
    life.plans["studio"] = Plan(replace(STUDIO, roll_over=False))
    for nth in range(1, 5):
        life.change("studio", NOW + nth * DAY)
        life.change("free", NOW + nth * DAY + DAY / 2)
    assert life.account.available_units == 100


def test_another_plan_leaves_what_is_not_a_plans_grant() -> None:
    life = Life()
    gift = GrantEntered(
        account_id=PAYER,
        grant_id="gift",
        reason="goodwill",
        amount_units=7,
        expires_at=NOW + 90 * DAY,
        **life.account.after(granted=7),
    )
    life.take([gift])
    life.change("studio")
    assert [(lot.grant_id, lot.units) for lot in life.account.lots] == [("gift", 7)]
    assert life.account.available_units == 1_007


def test_the_same_plan_again_changes_nothing() -> None:
    assert Life().change("free") == []


def test_refuses_a_plan_that_nobody_has_defined_or_that_is_not_offered() -> None:
    with pytest.raises(NotFound):
        Life().change("gold")
    life = Life()
    life.plans["studio"] = Plan(replace(STUDIO, offered=False))
    with pytest.raises(Rejected) as refusal:
        life.change("studio")
    assert refusal.value.code == "plan_not_offered"


def test_an_account_without_a_plan_is_given_one() -> None:
    """Accounts of before plans were data have none."""
    life = Life()
    life.subscription = Subscription()
    life.account = replace(ACCOUNT.fold([AccountOpened(PAYER, PAYER, "free")]), granted_units=40)
    changed = life.change("studio")[0]
    assert changed == PlanChanged(PAYER, PAYER, "", "studio", NOW + DAY, ADMIN)
    assert life.account.available_units == 1_040


def test_an_account_without_a_plan_has_no_months() -> None:
    life = Life()
    events = catch_up(CatchUp(PAYER, NOW + 400 * DAY), Subscription(), life.account, Plan())
    assert kinds(list(events)) == ["ExpiryEntered"]
    assert isinstance(events[0], ExpiryEntered)


def test_each_month_begins_on_the_same_day_or_the_months_last() -> None:
    since = datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert [month_after(since, nth).day for nth in range(5)] == [31, 28, 31, 30, 31]
    assert month_after(since, 25) == datetime(2028, 2, 29, 9, tzinfo=UTC)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - given a zone
    st.integers(0, 600),
)
def test_months_follow_each_other_without_gap_or_overlap(since: datetime, nth: int) -> None:
    assert month_after(since, nth) < month_after(since, nth + 1)
    assert month_after(since, 0) == since


def test_a_plan_is_defined_anew_only_by_other_terms() -> None:
    define = DefinePlan("free", FREE, NOW, ADMIN)
    assert PLANS.decide(define, Plan()) == (PlanDefined("free", FREE, NOW, ADMIN),)
    assert PLANS.decide(define, Plan(FREE)) == ()
    assert PLANS.decide(define, Plan(STUDIO)) == (PlanDefined("free", FREE, NOW, ADMIN),)
    assert PLANS.decide(replace(define, if_new=True), Plan(STUDIO)) == ()


def test_the_first_period_is_the_zeroth_month() -> None:
    begun = open_account(OPENING, Account(), Plan(FREE))[0]
    assert begun == PeriodBegun(PAYER, "free", NOW, 0, month_after(NOW, 1))
