"""The port to what counts requests: a moving window for each subject, and what a count tells.

Which subject a request is counted for, and at which rate, is not known here.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kernel.rates import Rate, RateClass


class Charge(NamedTuple):
    """One more request of `subject` in a class of routes, which may have `rate` of them."""

    rate_class: RateClass
    subject: str
    rate: Rate

    @property
    def key(self) -> str:
        """Without the rate: who is given another one does not begin anew."""
        return f"{self.rate_class.value}:{self.subject}"


class Count(NamedTuple):
    """How a charge stands now: `resets_at_s` (Unix time) is when its oldest request leaves the
    window, which makes room for one more."""

    charge: Charge
    remaining: int
    resets_at_s: float


class Verdict(NamedTuple):
    """`refused` is None for a request that was counted; else the count that has no room, and the
    request was counted for nobody."""

    counts: tuple[Count, ...]
    refused: Count | None


class LimitsUnavailable(Exception):
    """What counts for all processes does not answer; its words hold no address or password."""


class Limits(Protocol):
    """Exact for all who share it; a refused request leaves no trace."""

    async def take(self, charges: Sequence[Charge]) -> Verdict:
        """Count a request for each of `charges`, or, when one has no room, for none.

        Raises `LimitsUnavailable` where it is shared and does not answer in time.
        """
        ...

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """A request that was counted and is refused elsewhere: its room is free again."""
        ...
