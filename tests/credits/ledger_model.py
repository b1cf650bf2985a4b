"""The ledger once more, as small as it can be: purses of credits that are carried about.

It shares nothing with the domain but ids. A purse is a pile of credits with one end (or none); a
hold carries purses away from its account, and brings back what was not spent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

Purse = tuple[datetime | None, str, int]
"""When it ends, whose it is, how many credits."""


def _order(purse: Purse) -> tuple[bool, float, str]:
    return purse[0] is None, purse[0].timestamp() if purse[0] else 0.0, purse[1]


def _split(purses: Iterable[Purse], units: int) -> tuple[list[Purse], list[Purse]]:
    """The first `units` of them, and the rest."""
    first, rest = [], []
    for ends_at, name, amount in sorted(purses, key=_order):
        part = min(amount, units)
        units -= part
        first.append((ends_at, name, part))
        rest.append((ends_at, name, amount - part))
    return [purse for purse in first if purse[2]], [purse for purse in rest if purse[2]]


@dataclass
class Pile:
    """One account."""

    purses: list[Purse] = field(default_factory=list)
    used: int = 0
    is_open: bool = False

    @property
    def available(self) -> int:
        return sum(units for *_, units in self.purses)

    def drop_ended(self, now: datetime) -> None:
        self.purses = [purse for purse in self.purses if purse[0] is None or purse[0] > now]

    def by_name(self) -> dict[str, int]:
        """What is left of each grant that ends."""
        left: dict[str, int] = {}
        for ends_at, name, units in self.purses:
            if ends_at is not None:
                left[name] = left.get(name, 0) + units
        return left


@dataclass
class Model:
    """Answers whether a thing is done; what is refused changes nothing but what had ended."""

    piles: dict[UUID, Pile]
    carried: dict[UUID, tuple[UUID, list[Purse]]] = field(default_factory=dict)
    charged: dict[UUID, int] = field(default_factory=dict)
    lost: int = 0

    def give(self, account: UUID, name: str, units: int, ends_at: datetime | None) -> None:
        if units:
            self.piles[account].purses.append((ends_at, name, units))

    def hold(self, account: UUID, task: UUID, units: int, now: datetime) -> bool:
        pile = self.piles[account]
        pile.drop_ended(now)
        if units > pile.available:
            return False
        taken, pile.purses = _split(pile.purses, units)
        self.carried[task] = (account, taken)
        return True

    def end(self, task: UUID, charged: int, now: datetime) -> None:
        account, purses = self.carried.pop(task)
        pile = self.piles[account]
        _, back = _split(purses, charged)
        pile.purses += back
        if any(ends_at is not None for ends_at, *_ in back):
            pile.drop_ended(now)
        pile.used += charged
        if charged:
            self.charged[task] = charged

    def take(self, account: UUID, units: int, now: datetime, *, used: bool) -> bool:
        pile = self.piles[account]
        kept = list(pile.purses)
        pile.drop_ended(now)
        if units > pile.available:
            pile.purses = kept
            return False
        _, pile.purses = _split(pile.purses, units)
        pile.used += units if used else 0
        return True

    def refund(self, account: UUID, task: UUID, units: int) -> bool:
        if units > self.charged.get(task, 0):
            return False
        self.charged[task] -= units
        self.piles[account].used -= units
        self.give(account, "", units, None)
        return True
