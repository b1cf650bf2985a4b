"""Messages out: own event -> public event, or nothing. Ledger entries and budgets stay inside."""

from typing import assert_never

from contracts import credits as public
from contracts.envelope import PublicEvent
from kernel.unit import Recorded
from services.credits.domain import (
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


def announce(recorded: Recorded[LedgerEvent]) -> PublicEvent | None:
    match recorded.event:
        case AccountOpened(account_id, user_id, plan):
            return public.AccountOpened(account_id=account_id, user_id=user_id, plan=plan)
        case GrantEntered() as grant:
            return public.CreditsGranted(
                account_id=grant.account_id,
                grant_id=grant.grant_id,
                amount_units=grant.amount_units,
                reason=grant.reason,
            )
        case HoldPlaced() as placed:
            return public.CreditsReserved(
                task_id=placed.task_id,
                account_id=placed.account_id,
                amount_units=placed.amount_units,
            )
        case HoldRefused() as refused:
            return public.CreditsDeclined(
                task_id=refused.task_id,
                account_id=refused.account_id,
                reason=refused.reason,
                required_units=refused.required_units,
                available_units=refused.available_units,
                limit_units=refused.limit_units,
                used_units=refused.used_units,
            )
        case HoldCommitted(task_id, account_id, amount_units, released_units):
            return public.CreditsCommitted(
                task_id=task_id,
                account_id=account_id,
                amount_units=amount_units,
                released_units=released_units,
            )
        case HoldReleased(task_id, account_id, amount_units):
            return public.CreditsReleased(
                task_id=task_id, account_id=account_id, amount_units=amount_units
            )
        case HoldEntered() | CommitEntered() | ReleaseEntered() | HoldBarred():
            return None
        case BudgetHeld() | BudgetSpent() | BudgetReleased():
            return None
        case _:
            assert_never(recorded.event)
