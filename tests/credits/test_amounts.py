"""Amounts and times as they come in: exactly, or not at all."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from kernel.money import to_units
from services.credits.api.exact_json import exact_credits, exact_number
from services.credits.api.statement import decimals, harmless
from services.credits.api.words import Amount, Moment

AMOUNT: TypeAdapter[Decimal] = TypeAdapter(Amount)
MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
MAX_UNITS = 10**16


def read(text: str) -> Decimal:
    """As a route does."""
    return AMOUNT.validate_python(json.loads(text, parse_float=exact_number))


def refused(kind: TypeAdapter[Any], value: object) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return True
    return False


@given(st.integers(1, MAX_UNITS))
def test_every_amount_up_to_a_million_million_survives_exactly(units: int) -> None:
    assert to_units(read(decimals(units))) == units


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_takes_a_number_exactly_when_it_is_an_amount(number: Decimal) -> None:
    is_amount = 0 < number <= 10**12 and (Fraction(number) * 10_000).denominator == 1
    assert refused(AMOUNT, number) != is_amount


@given(st.integers(1, 10**15), st.integers(1, 9), st.integers(0, 30))
def test_a_fifth_decimal_is_refused_however_far_behind_the_point_it_is(
    units: int, digit: int, zeros: int
) -> None:
    with pytest.raises(ValidationError):
        read(f"{decimals(units)}{'0' * zeros}{digit}")


@pytest.mark.parametrize("text", ["1", "1.0", "1.00000", "1e0", "10E-1", "0.1e1"])
def test_one_credit_has_many_spellings(text: str) -> None:
    assert read(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "0.0", "-0.0", "-0.0001", "0.00001", "1.00001", "1e-5", "1e-400"),
        *("1000000000000.0001", "1000000000001", "1e13", "1e400", "1e99999999999999999999"),
        *("1e-99999999999999999999", "NaN", "Infinity", "-Infinity", "9" * 4_000),
        *('"1"', "true", "false", "null", "[1]", '{"amount": 1}'),
    ],
)
def test_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValidationError):
        read(text)


@given(st.integers(-MAX_UNITS, MAX_UNITS))
def test_shows_units_with_four_places(units: int) -> None:
    shown = decimals(units)
    assert to_units(Decimal(shown)) == units
    assert len(shown.partition(".")[2]) == 4
    assert f"{exact_credits(units):f}" == shown


@given(st.text(max_size=20))
def test_no_words_begin_a_formula(words: str) -> None:
    safe = harmless(words)
    assert safe.endswith(words)
    assert safe.lstrip()[:1] not in {*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20"} - {""}


@given(st.timedeltas(timedelta(), timedelta(days=365 * 8_000)), st.integers(-23 * 60, 23 * 60))
def test_reads_a_time_whatever_its_offset(since: timedelta, minutes: int) -> None:
    moment = datetime(1971, 1, 1, tzinfo=timezone(timedelta(minutes=minutes))) + since
    read_back = MOMENT.validate_python(moment.isoformat())
    assert (read_back, read_back.tzinfo) == (moment, UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-11-24", "2026-11-24T09:30:00", "1764000000", 1764000000, 1.5, None),
        *("2026-13-01T00:00:00Z", "2026-11-31T00:00:00Z", "2026-11-24T24:30:00Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z"),
        *("2026-11-24T09:30:00+99:00", "\u0662026-11-24T09:30:00Z", "2026-W48-2T09:30:00Z"),
    ],
)
def test_refuses_what_is_no_time(text: object) -> None:
    assert refused(MOMENT, text)
