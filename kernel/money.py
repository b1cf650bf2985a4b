"""Credits are integers of 1/10,000 credit inside, exact decimals with 4 places outside."""

from decimal import Decimal

UNITS_PER_CREDIT = 10_000
PLACES = 4


def to_credits(units: int) -> float:
    """The JSON number of `units`; exact to 4 places below 2**39 credits."""
    return units / UNITS_PER_CREDIT


def to_units(credit: Decimal) -> int:
    """Raises ValueError beyond 4 decimal places.

    By the digits: arithmetic of decimals rounds to 28 of them, and so may hide a place.
    """
    sign, digits, exponent = credit.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("not a finite number")  # noqa: TRY004 - a value of the right type
    number = int("".join(map(str, digits)))
    if exponent + PLACES >= 0:
        units, rest = number * int(10 ** (exponent + PLACES)), 0
    else:
        units, rest = divmod(number, int(10 ** -(exponent + PLACES)))
    if rest:
        raise ValueError(f"more than {PLACES} decimal places")
    return -units if sign else units
