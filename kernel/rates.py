"""How often something may be done (`100/minute`), and the classes of routes it is said for.

A key's own rates, the settings of the gateway and its route table speak of them in these words.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

AMOUNT_MAX: Final = 10_000_000
PERIOD_S_MAX: Final = 86_400
_UNITS_S: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_RATE: Final = re.compile(
    r"(?P<amount>[0-9]{1,8})/(?P<times>[0-9]{1,5})? ?(?P<unit>second|minute|hour|day)s?", re.ASCII
)


class RateClass(Enum):
    """Routes that share a limit: each caller has one budget for all routes of a class."""

    API = "api"
    ANONYMOUS = "anonymous"
    AUTH = "auth"
    GENERATION = "generation"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    ROTATION = "rotation"
    MFA = "mfa"
    SPECGEN = "specgen"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` within any `period_s` seconds."""

    amount: int
    period_s: int

    @classmethod
    def read(cls, text: str) -> Self:
        """From `100/minute`, `3/hour`, `5/5minutes`. Raises ValueError, saying what is wrong."""
        found = _RATE.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError("a rate is written like 100/minute or 5/5minutes")
        rate = cls(int(found["amount"]), int(found["times"] or 1) * _UNITS_S[found["unit"]])
        if not 1 <= rate.amount <= AMOUNT_MAX:
            raise ValueError(f"a rate allows 1 to {AMOUNT_MAX}")
        if not 1 <= rate.period_s <= PERIOD_S_MAX:
            raise ValueError("the period of a rate is at most a day")
        return rate

    def __str__(self) -> str:
        return f"{self.amount} in {self.period_s} s"


def read_rates(text: str) -> dict[RateClass, Rate]:
    """From `api=100/minute,rotation=3/hour`. Raises ValueError, naming the class that is wrong."""
    rates: dict[RateClass, Rate] = {}
    for part in text.split(","):
        name, _, written = (piece.strip() for piece in part.partition("="))
        rate_class = _CLASSES.get(name)
        if rate_class is None:
            raise ValueError(f"the classes are {', '.join(_CLASSES)}; {name[:40]!r} is none")
        if rate_class in rates:
            raise ValueError(f"{name} is there twice")
        try:
            rates[rate_class] = Rate.read(written)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return rates


_CLASSES: Final = {rate_class.value: rate_class for rate_class in RateClass}
