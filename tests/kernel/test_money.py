"""Credits are whole units inside, and no place is lost on the way in."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.money import to_credits, to_units


@given(st.integers(0, 2**39 * 10_000))
def test_what_is_shown_is_read_again_as_the_same(units: int) -> None:
    assert to_units(Decimal(str(to_credits(units)))) == units


@pytest.mark.parametrize("text", ["0.00001", "1.23456", "100000000000000000000000000.00001"])
def test_a_fifth_place_is_refused_however_long_the_number(text: str) -> None:
    with pytest.raises(ValueError, match="4 decimal places"):
        to_units(Decimal(text))


def test_zeros_at_the_end_are_no_places() -> None:
    assert to_units(Decimal("1.500000")) == 15_000
    assert to_units(Decimal("1E+2")) == 1_000_000
    assert to_units(Decimal("-0.0001")) == -1


@pytest.mark.parametrize("text", ["NaN", "Infinity"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        to_units(Decimal(text))
