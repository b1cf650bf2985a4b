"""Messages out: own event -> public event, or nothing. Most entries, and budgets, stay inside."""

from typing import assert_never

from contracts import credits as public
from contracts.envelope import PublicEvent
from kernel.unit import Recorded
from services.credits.domain import (
    AccountOpened,
    AdjustmentEntered,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    ChargeEntered,
    CodeIssued,
    CodeRedeemed,
    CommitEntered,
    Event,
    ExpiryEntered,
    GrantEntered,
    HoldBarred,
    HoldCommitted,
    HoldEntered,
    HoldPlaced,
    HoldRefunded,
    HoldRefused,
    HoldReleased,
    LossEntered,
    PeriodBegun,
    PlanChanged,
    PlanDefined,
    PostingMade,
    RefundEntered,
    ReleaseEntered,
    StorageMetered,
)


def announce(recorded: Recorded[Event]) -> PublicEvent | None:
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
        case HoldCommitted() as committed:
            return public.CreditsCommitted(
                task_id=committed.task_id,
                account_id=committed.account_id,
                amount_units=committed.amount_units,
                released_units=committed.released_units,
            )
        case HoldReleased() as released:
            return public.CreditsReleased(
                task_id=released.task_id,
                account_id=released.account_id,
                amount_units=released.amount_units,
            )
        case PlanChanged() as changed:
            return public.PlanChanged(
                account_id=changed.account_id,
                user_id=changed.user_id,
                plan_before=changed.plan_before,
                plan=changed.plan_id,
                changed_at=changed.at,
            )
        case StorageMetered() as metered:
            return public.StorageCharged(
                account_id=metered.account_id,
                day=metered.day,
                amount_units=metered.charged_units,
                unpaid_units=metered.unpaid_after,
            )
        case HoldEntered() | ChargeEntered() | ExpiryEntered() as entry:
            return _low(entry)
        case CommitEntered() | ReleaseEntered() | RefundEntered() | AdjustmentEntered():
            return None
        case HoldBarred() | HoldRefunded() | LossEntered() | PostingMade():
            return None
        case BudgetHeld() | BudgetSpent() | BudgetReleased():
            return None
        case PlanDefined() | PeriodBegun() | CodeIssued() | CodeRedeemed():
            return None
        case _:
            assert_never(recorded.event)


def _low(entry: HoldEntered | ChargeEntered | ExpiryEntered) -> public.BalanceLow | None:
    if entry.low_below_units is None:
        return None
    return public.BalanceLow(
        account_id=entry.account_id,
        available_units=entry.available_after,
        threshold_units=entry.low_below_units,
    )
