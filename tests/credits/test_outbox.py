"""What credits says of each of its own events."""

from dataclasses import replace

import pytest

from contracts import credits as public
from contracts.envelope import PublicEvent
from kernel.clock import SystemClock, new_id
from kernel.context import Origin
from kernel.unit import Recorded
from services.credits.app import AGGREGATES
from services.credits.domain import (
    AccountOpened,
    AdjustmentEntered,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    ChargeEntered,
    CodeIssued,
    CodeRedeemed,
    Event,
    ExpiryEntered,
    GrantEntered,
    HoldBarred,
    HoldCommitted,
    HoldPlaced,
    HoldRefunded,
    HoldRefused,
    HoldReleased,
    LossEntered,
    PeriodBegun,
    PlanChanged,
    PlanDefined,
    PlanTerms,
    PostingKind,
    PostingMade,
    RefundEntered,
    StorageMetered,
)
from services.credits.outbox import announce
from tests.credits.test_domain import (
    NOW,
    PAYER,
    TASK,
    commit_entered,
    hold_entered,
    release_entered,
)

USER, KEY = new_id(), new_id()

SAID: list[tuple[Event, PublicEvent | None]] = [
    (
        AccountOpened(PAYER, USER, "free"),
        public.AccountOpened(account_id=PAYER, user_id=USER, plan="free"),
    ),
    (
        GrantEntered(
            account_id=PAYER,
            grant_id="registration",
            reason="plan:free",
            amount_units=100,
            granted_after=100,
            used_after=0,
            held_after=0,
        ),
        public.CreditsGranted(
            account_id=PAYER, grant_id="registration", amount_units=100, reason="plan:free"
        ),
    ),
    (hold_entered(TASK, 30, 100, 0, 30), None),
    (commit_entered(TASK, 10, 20, 100, 10, 0), None),
    (release_entered(TASK, 30, 100, 0, 0), None),
    (
        HoldPlaced(TASK, PAYER, 30),
        public.CreditsReserved(task_id=TASK, account_id=PAYER, amount_units=30),
    ),
    (
        HoldRefused(TASK, PAYER, "insufficient_credits", 30, 20),
        public.CreditsDeclined(
            task_id=TASK,
            account_id=PAYER,
            reason="insufficient_credits",
            required_units=30,
            available_units=20,
        ),
    ),
    (
        HoldRefused(TASK, PAYER, "monthly_credit_limit_reached", 30, 100, 50, 21),
        public.CreditsDeclined(
            task_id=TASK,
            account_id=PAYER,
            reason="monthly_credit_limit_reached",
            required_units=30,
            available_units=100,
            limit_units=50,
            used_units=21,
        ),
    ),
    (BudgetHeld(KEY, TASK, 30, "2026-11", 0, 30), None),
    (BudgetSpent(KEY, TASK, 10, 20, "2026-11", 10, 0), None),
    (BudgetReleased(KEY, TASK, 30, 0), None),
    (HoldBarred(TASK, PAYER), None),
    (LossEntered(TASK, PAYER, 30, "late_charge"), None),
    (HoldRefunded(TASK, PAYER, 5, 5), None),
    (
        replace(hold_entered(TASK, 30, 100, 0, 30), low_below_units=80),
        public.BalanceLow(account_id=PAYER, available_units=70, threshold_units=80),
    ),
    (
        RefundEntered(
            account_id=PAYER,
            task_id=TASK,
            amount_units=5,
            granted_after=100,
            used_after=5,
            held_after=0,
            reason="broken picture",
        ),
        None,
    ),
    (
        AdjustmentEntered(
            account_id=PAYER,
            amount_units=5,
            granted_after=105,
            used_after=0,
            held_after=0,
            taken=False,
            reason="goodwill",
        ),
        None,
    ),
    (
        ChargeEntered(
            account_id=PAYER,
            amount_units=5,
            granted_after=100,
            used_after=5,
            held_after=0,
            reason="storage:2026-11-15",
        ),
        None,
    ),
    (
        ExpiryEntered(
            account_id=PAYER,
            amount_units=5,
            granted_after=95,
            used_after=0,
            held_after=0,
            grant_id="plan:free:1",
        ),
        None,
    ),
    (
        PlanChanged(PAYER, USER, "free", "studio", NOW, USER),
        public.PlanChanged(
            account_id=PAYER, user_id=USER, plan_before="free", plan="studio", changed_at=NOW
        ),
    ),
    (PeriodBegun(PAYER, "free", NOW, 0, NOW), None),
    (PlanDefined("free", PlanTerms("Free", 100), NOW), None),
    (PostingMade("p-1", PAYER, PostingKind.GRANT, 5, "goodwill", USER), None),
    (CodeIssued("aa", 5, USER, NOW), None),
    (CodeRedeemed("aa", PAYER, NOW), None),
    (
        StorageMetered(PAYER, NOW.date(), 10, 3, 1, 2),
        public.StorageCharged(account_id=PAYER, day=NOW.date(), amount_units=3, unpaid_units=2),
    ),
    (
        HoldCommitted(TASK, PAYER, 10, 20),
        public.CreditsCommitted(task_id=TASK, account_id=PAYER, amount_units=10, released_units=20),
    ),
    (
        HoldReleased(TASK, PAYER, 30),
        public.CreditsReleased(task_id=TASK, account_id=PAYER, amount_units=30),
    ),
]


@pytest.mark.parametrize(("event", "said"), SAID, ids=lambda value: type(value).__name__)
def test_says_of_each_event_what_others_may_know(event: Event, said: PublicEvent | None) -> None:
    recorded = Recorded(new_id(), "x-1", 1, event, SystemClock().now(), Origin("request-1"))
    assert announce(recorded) == said


def test_every_event_of_the_domain_is_covered_here() -> None:
    assert {type(event) for event, _ in SAID} == {
        kind for aggregate in AGGREGATES for kind in aggregate.events
    }
