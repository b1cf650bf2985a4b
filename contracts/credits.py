"""What credits tells: accounts, grants, and how each task's reservation went.

Amounts are integers of 1/10,000 credit (`..._units`).
"""

from datetime import date
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, NonNegativeInt, PositiveInt

from contracts.envelope import PublicEvent


class AccountOpened(PublicEvent):
    owner: ClassVar[str] = "credits"

    account_id: UUID
    user_id: UUID
    plan: str


class CreditsGranted(PublicEvent):
    owner: ClassVar[str] = "credits"

    account_id: UUID
    grant_id: str
    amount_units: PositiveInt
    reason: str


class CreditsReserved(PublicEvent):
    """The account's credits are held for this task, until exactly one commit or release."""

    owner: ClassVar[str] = "credits"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)

    task_id: UUID
    account_id: UUID
    amount_units: NonNegativeInt


class CreditsDeclined(PublicEvent):
    """Nothing is held for this task, and nothing ever will be.

    `reason` is `insufficient_credits` (then `required_units` and `available_units` say how far),
    `monthly_credit_limit_reached` (then `limit_units` is the API key's, of which `used_units` are
    spent this month or held) or `released` (the task ended before its reservation arrived).
    """

    owner: ClassVar[str] = "credits"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)

    task_id: UUID
    account_id: UUID
    reason: str
    required_units: NonNegativeInt
    available_units: NonNegativeInt
    limit_units: NonNegativeInt | None = None
    used_units: NonNegativeInt | None = None


class CreditsCommitted(PublicEvent):
    """The hold has ended by a charge; what was held beyond it went back at once."""

    owner: ClassVar[str] = "credits"

    task_id: UUID
    account_id: UUID
    amount_units: NonNegativeInt
    released_units: NonNegativeInt


class CreditsReleased(PublicEvent):
    """The hold has ended without a charge."""

    owner: ClassVar[str] = "credits"

    task_id: UUID
    account_id: UUID
    amount_units: NonNegativeInt


class BalanceLow(PublicEvent):
    """What is available fell below the threshold, by a hold, a charge or the end of a grant."""

    owner: ClassVar[str] = "credits"

    account_id: UUID
    available_units: NonNegativeInt
    threshold_units: PositiveInt


class PlanChanged(PublicEvent):
    """The account has another plan from now on; `plan_before` is empty where it had none."""

    owner: ClassVar[str] = "credits"
    consumers: ClassVar[tuple[str, ...]] = ("keys", "storage")

    account_id: UUID
    user_id: UUID
    plan_before: str
    plan: str
    changed_at: AwareDatetime


class StorageCharged(PublicEvent):
    """A day's stored files are paid for; `unpaid_units` is what the balance has not covered so far,
    and counts with the next day."""

    owner: ClassVar[str] = "credits"

    account_id: UUID
    day: date
    amount_units: NonNegativeInt
    unpaid_units: NonNegativeInt
