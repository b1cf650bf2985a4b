"""What credits reads from the environment."""

from kernel.settings import Settings

FREE_PLAN_UNITS = 1_000_000
"""100 credits."""


class CreditsSettings(Settings):
    """Nothing of its own yet: plans become data with the ledger's own issue."""

    @property
    def grant_units_by_plan(self) -> dict[str, int]:
        return {"free": FREE_PLAN_UNITS}
