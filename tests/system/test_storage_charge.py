"""What lay in storage on a day that is over is charged by credits, once."""

from decimal import Decimal

from tests.system.product import Product, User, wait_until
from tests.system.test_leaving import who

GB_MONTHS = 30_000
SIZE = 10**9 * GB_MONTHS
DAY_CREDITS = Decimal(GB_MONTHS) / 30 / 100
"""At 0.01 a GB-month."""


def charges(user: User) -> list[Decimal]:
    """Of storage, in their order."""
    return [
        Decimal(str(entry["amount"])) for entry in user.history() if "storage" in str(entry).lower()
    ]


def test_a_whole_day_in_storage_is_charged_once(product: Product, user: User) -> None:
    user_id, _ = who(product, user)
    user.wait(user.generate("kept [[sim:canned]]")["id"])
    product.rows(
        "UPDATE storage_read.stays SET size = $2, since = date_trunc('day',"
        " now() - interval '10 minutes', 'UTC') - interval '1 day' WHERE user_id = $1",
        *(user_id, SIZE),
    )
    for _ in range(2):
        product.rows("DELETE FROM storage.rounds WHERE name = 'measurement'")
        wait_until(
            lambda: bool(
                product.rows(
                    "SELECT FROM storage.rounds WHERE name = 'measurement' AND ended_at IS NOT NULL"
                )
            ),
            60,
        )
    wait_until(lambda: len(charges(user)) > 0, 60)
    assert [abs(amount) for amount in charges(user)] == [DAY_CREDITS], user.history()
