"""Credits are integers of 1/10,000 credit inside, exact decimals with 4 places outside."""

from decimal import Decimal

UNITS_PER_CREDIT = 10_000
PLACES = 4


def to_credits(units: int) -> float:
    """The JSON number of `units`; exact to 4 places for every amount below 2**53 units."""
    return units / UNITS_PER_CREDIT


def to_units(credit: Decimal) -> int:
    """Raises ValueError beyond 4 decimal places."""
    scaled = credit * UNITS_PER_CREDIT
    if scaled != scaled.to_integral_value():
        raise ValueError(f"more than {PLACES} decimal places")
    return int(scaled)
