"""What credits says of each of its own events."""

import pytest

from contracts import credits as public
from contracts.envelope import PublicEvent
from kernel.clock import SystemClock, new_id
from kernel.context import Origin
from kernel.unit import Recorded
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    HOLD,
    AccountOpened,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    CommitEntered,
    GrantEntered,
    HoldBarred,
    HoldCommitted,
    HoldEntered,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    LedgerEvent,
    ReleaseEntered,
)
from services.credits.outbox import announce

PAYER, USER, TASK, KEY = new_id(), new_id(), new_id(), new_id()

SAID: list[tuple[LedgerEvent, PublicEvent | None]] = [
    (
        AccountOpened(PAYER, USER, "free"),
        public.AccountOpened(account_id=PAYER, user_id=USER, plan="free"),
    ),
    (
        GrantEntered(PAYER, "registration", "plan:free", 100, 100, 0, 0),
        public.CreditsGranted(
            account_id=PAYER, grant_id="registration", amount_units=100, reason="plan:free"
        ),
    ),
    (HoldEntered(PAYER, TASK, 30, 100, 0, 30), None),
    (CommitEntered(PAYER, TASK, 10, 20, 100, 10, 0), None),
    (ReleaseEntered(PAYER, TASK, 30, 100, 0, 0), None),
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
def test_says_of_each_event_what_others_may_know(
    event: LedgerEvent, said: PublicEvent | None
) -> None:
    recorded = Recorded(new_id(), "x-1", 1, event, SystemClock().now(), Origin("request-1"))
    assert announce(recorded) == said


def test_every_event_of_the_domain_is_covered_here() -> None:
    assert {type(event) for event, _ in SAID} == {*ACCOUNT.events, *HOLD.events, *BUDGET.events}
