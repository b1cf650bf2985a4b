"""Prices in units of 1/10,000 credit: of a picture by its quality, of films and speech by length.

No price for a combination is a refusal, never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final, TypeAlias

WHOLE_PERCENT: Final = 100


class Quality(StrEnum):
    """Of an image, by its long side: under 1024 px, under 2048 px, from 2048 px."""

    STANDARD = "standard"
    HD = "hd"
    UHD = "4k"


@dataclass(frozen=True, slots=True)
class QualityPrice:
    """For one output of each quality that is offered."""

    units: Mapping[Quality, int]

    def of(self, quality: Quality, outputs: int, percent: int = WHOLE_PERCENT) -> int | None:
        """The price of all outputs, of which `percent` is asked, each rounded up; None where the
        book has none."""
        each = self.units.get(quality)
        return None if each is None else part_of(each, percent) * outputs


@dataclass(frozen=True, slots=True)
class LengthPrice:
    """`first_units` for up to `first_s` seconds, then `each_units` for every `each_s` that begins,
    or once where `each_s` is None."""

    first_s: float
    first_units: int
    each_units: int
    each_s: float | None = None

    def of(self, seconds: float) -> int:
        beyond_s = seconds - self.first_s
        if beyond_s <= 0:
            return self.first_units
        begun = 1 if self.each_s is None else ceil(beyond_s / self.each_s)
        return self.first_units + begun * self.each_units

    def at(self, percent: int) -> "LengthPrice":
        """The same price, of which `percent` is asked."""
        return LengthPrice(
            self.first_s,
            part_of(self.first_units, percent),
            part_of(self.each_units, percent),
            self.each_s,
        )


Price: TypeAlias = QualityPrice | LengthPrice


def part_of(units: int, percent: int) -> int:
    """Rounded up."""
    return -(-units * percent // WHOLE_PERCENT)
