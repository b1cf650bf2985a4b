"""The platform's own accounts, derived from all entries of all users: no request waits for it."""

from dataclasses import dataclass
from typing import Final

from kernel.sql import Database

_SUMS: Final = """
    WITH moved AS (
        SELECT debit_account AS debit, credit_account AS credit, amount_units AS units
        FROM credits_read.credit_transactions WHERE kind NOT IN ('hold', 'release')
    ), posted AS (
        SELECT
            coalesce(sum(units) FILTER (WHERE credit = 'platform:grants'), 0)
                - coalesce(sum(units) FILTER (WHERE debit = 'platform:grants'), 0) AS grants,
            coalesce(sum(units) FILTER (WHERE credit = 'platform:revenue'), 0)
                - coalesce(sum(units) FILTER (WHERE debit = 'platform:revenue'), 0) AS revenue
        FROM moved
    ), lost AS (
        SELECT coalesce(sum(amount_units), 0) AS units FROM credits_read.losses
    ), owned AS (
        SELECT coalesce(sum(granted_units - used_units), 0) AS units
        FROM credits_read.credits_balances
    )
    SELECT posted.grants AS grants_units, posted.revenue + lost.units AS revenue_units,
        -lost.units AS losses_units, owned.units AS users_units
    FROM posted, lost, owned"""


@dataclass(frozen=True, slots=True)
class PlatformSums:
    """What is posted on each of the platform's accounts, and on all of users', in 1/10,000 credit;
    promises are not."""

    grants_units: int
    revenue_units: int
    losses_units: int
    users_units: int

    @property
    def total_units(self) -> int:
        """Zero, unless an entry or a balance is wrong: both are counted apart."""
        return self.grants_units + self.revenue_units + self.losses_units + self.users_units


async def platform_sums(database: Database) -> PlatformSums:
    """Reads every entry, so it takes a second for some millions of them."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_SUMS)
    assert row is not None, "an aggregate has a row"
    return PlatformSums(**{name: int(units) for name, units in row.items()})


async def losses_units(database: Database) -> int:
    """All that the platform has borne."""
    async with database.connection() as connection:
        return int(
            await connection.fetchval(
                "SELECT coalesce(sum(amount_units), 0) FROM credits_read.losses"
            )
        )
