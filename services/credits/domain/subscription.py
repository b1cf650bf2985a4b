"""A subscription: which plan an account has, and since when its period runs.

A period is a month, from its first moment on; one that begins on the 31st ends with a shorter month
on that month's last day. Each period is granted once, at its beginning or as soon as it is noticed.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from kernel.errors import Deferred, NotFound, Rejected
from kernel.messages import Aggregate
from services.credits.domain.account import (
    BALANCE_UNITS_MAX,
    Account,
    AccountEvent,
    AccountOpened,
    ExpiryEntered,
    GrantEntered,
    ended_lots,
)
from services.credits.domain.plan import Plan, PlanTerms
from services.credits.domain.posting import account_not_found

PLAN_GRANT: Final = "plan:"
"""How the ids of the grants of plans begin."""


@dataclass(frozen=True, slots=True)
class PeriodBegun:
    """Month `nth` of the subscription that began at `since`."""

    account_id: UUID
    plan_id: str
    since: datetime
    nth: int
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class PlanChanged:
    account_id: UUID
    user_id: UUID
    plan_before: str
    plan_id: str
    at: datetime
    by: UUID


SubscriptionEvent: TypeAlias = PeriodBegun | PlanChanged


@dataclass(frozen=True, slots=True)
class Subscription:
    """`ends_at` is when the present period does; None without a plan."""

    plan_id: str = ""
    since: datetime | None = None
    nth: int = 0
    ends_at: datetime | None = None


def _evolve_subscription(state: Subscription, event: SubscriptionEvent) -> Subscription:
    match event:
        case PeriodBegun():
            return Subscription(event.plan_id, event.since, event.nth, event.ends_at)
        case PlanChanged():
            return replace(state, plan_id=event.plan_id)
        case _:
            assert_never(event)


SUBSCRIPTION: Aggregate[SubscriptionEvent, Subscription] = Aggregate(
    name="subscription",
    state=Subscription,
    initial_state=Subscription,
    evolve=_evolve_subscription,
    events=(PeriodBegun, PlanChanged),
)


@dataclass(frozen=True, slots=True)
class OpenAccount:
    account_id: UUID
    user_id: UUID
    plan_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What has become due by `now`: grants that end, a period that begins."""

    account_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True)
class ChangePlan:
    account_id: UUID
    user_id: UUID
    plan_id: str
    by: UUID
    now: datetime


def month_after(since: datetime, months: int) -> datetime:
    """`months` later, on the same day or, where that month has none, on its last."""
    years, month = divmod(since.month - 1 + months, 12)
    year, month = since.year + years, month + 1
    day = min(since.day, calendar.monthrange(year, month)[1])
    return since.replace(year=year, month=month, day=day)


def open_account(
    command: OpenAccount, account: Account, plan: Plan
) -> Sequence[SubscriptionEvent | AccountEvent]:
    """The account and the plan's first grant; nothing when it is open already. Raises `Deferred`
    while nobody has defined the plan."""
    if account.is_open:
        return ()
    if plan.terms is None:
        raise Deferred(f"plan {command.plan_id} is not defined")
    opened = AccountOpened(command.account_id, command.user_id, command.plan_id)
    begun = _begun(command.account_id, command.plan_id, command.now, 0)
    return [begun, opened, *_granted(begun, plan.terms, account)]


def catch_up(
    command: CatchUp, subscription: Subscription, account: Account, plan: Plan
) -> Sequence[SubscriptionEvent | AccountEvent]:
    """`plan` is the subscription's. Periods that passed unnoticed are not made up for."""
    ended, account = ended_lots(command.account_id, account, command.now)
    if subscription.since is None or subscription.ends_at is None or plan.terms is None:
        return ended
    if subscription.ends_at > command.now:
        return ended
    nth = subscription.nth + 1
    while month_after(subscription.since, nth + 1) <= command.now:
        nth += 1
    begun = _begun(command.account_id, subscription.plan_id, subscription.since, nth)
    return [*ended, begun, *_granted(begun, plan.terms, account)]


def change_plan(
    command: ChangePlan, subscription: Subscription, account: Account, plan: Plan
) -> Sequence[SubscriptionEvent | AccountEvent]:
    """The new plan's first period begins at once, and what is left of the old one's grant ends: who
    goes to and fro gains nothing. `plan` is the new one. Raises `NotFound`, or `Rejected` for one
    that is not offered."""
    if not account.is_open:
        raise account_not_found()
    if plan.terms is None:
        raise NotFound("plan_not_found", "There is no such plan.")
    if subscription.plan_id == command.plan_id:
        return ()
    if not plan.terms.offered:
        raise Rejected("plan_not_offered", "This plan takes nobody new.")
    ended, account = _plan_grants_ended(command.account_id, account, command.now)
    changed = PlanChanged(
        command.account_id,
        command.user_id,
        subscription.plan_id,
        command.plan_id,
        command.now,
        command.by,
    )
    begun = _begun(command.account_id, command.plan_id, command.now, 0)
    return [*ended, changed, begun, *_granted(begun, plan.terms, account)]


def _begun(account_id: UUID, plan_id: str, since: datetime, nth: int) -> PeriodBegun:
    return PeriodBegun(account_id, plan_id, since, nth, month_after(since, nth + 1))


def _granted(begun: PeriodBegun, terms: PlanTerms, account: Account) -> Sequence[GrantEntered]:
    """As much of the plan's as the account has room for."""
    units = min(terms.monthly_units, BALANCE_UNITS_MAX - account.granted_units)
    if units <= 0:
        return ()
    starts_at = month_after(begun.since, begun.nth)
    entry = GrantEntered(
        account_id=begun.account_id,
        grant_id=f"{PLAN_GRANT}{begun.plan_id}:{starts_at:%Y-%m-%dT%H:%M:%S.%f}",
        reason=f"{PLAN_GRANT}{begun.plan_id}",
        amount_units=units,
        expires_at=None if terms.roll_over else begun.ends_at,
        **account.after(granted=units),
    )
    return (entry,)


def _plan_grants_ended(
    account_id: UUID, account: Account, now: datetime
) -> tuple[Sequence[ExpiryEntered], Account]:
    """All that has ended, and what is left of plans."""
    cut = tuple(
        replace(lot, expires_at=now) if lot.grant_id.startswith(PLAN_GRANT) else lot
        for lot in account.lots
    )
    in_order = tuple(sorted(cut, key=lambda lot: lot.expires_at))
    return ended_lots(account_id, replace(account, lots=in_order), now)
