"""What credits reads from the environment."""

from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from kernel.base_urls import BaseUrls
from kernel.money import to_units
from kernel.settings import Settings

CREDITS_MAX: Final = 1_000_000_000


def _exact(amount: Decimal) -> Decimal:
    to_units(amount)
    return amount


Amount = Annotated[Decimal, Field(ge=0, le=CREDITS_MAX), AfterValidator(_exact)]


class CreditsSettings(Settings):
    """Amounts are in credits, exact to 4 places."""

    free_plan_credits: Amount = Field(Decimal(100), validation_alias="SMARTSPEC_FREE_PLAN_CREDITS")
    """Of the free plan, each month, as it is defined at the first start; admins change it later."""
    low_balance_credits: Amount = Field(
        Decimal(10), validation_alias="SMARTSPEC_LOW_BALANCE_CREDITS"
    )
    storage_credits_per_gb_month: Amount = Field(
        Decimal("0.01"), validation_alias="SMARTSPEC_STORAGE_CREDITS_PER_GB_MONTH"
    )
    generation_url: BaseUrls = Field((), validation_alias="GENERATION_URL")
    """Read where credits has a process of its own."""
