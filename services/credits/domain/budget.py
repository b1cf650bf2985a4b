"""A budget: what one API key with a monthly limit has spent this month, and holds open.

It is the key's, whichever of its secrets asked. Months are calendar months of UTC, as `2026-11`;
amounts are integers of 1/10,000 credit.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, assert_never
from uuid import UUID

from kernel.messages import Aggregate


@dataclass(frozen=True, slots=True)
class BudgetHeld:
    key_id: UUID
    task_id: UUID
    amount_units: int
    month: str
    used_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """`amount_units` count for `month`; `released_units` more were held and went back."""

    key_id: UUID
    task_id: UUID
    amount_units: int
    released_units: int
    month: str
    used_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class BudgetReleased:
    key_id: UUID
    task_id: UUID
    amount_units: int
    held_after: int


BudgetEvent: TypeAlias = BudgetHeld | BudgetSpent | BudgetReleased


@dataclass(frozen=True, slots=True)
class Budget:
    """`used_units` are those of `month`, the last one in which anything was asked or spent;
    `held_units` count for every month until they end."""

    month: str = ""
    used_units: int = 0
    held_units: int = 0

    def in_month(self, month: str) -> "Budget":
        """The same seen from `month`: a new one begins with nothing used. A clock that is behind
        is in the month that is known already."""
        return Budget(month, 0, self.held_units) if month > self.month else self

    @property
    def taken_units(self) -> int:
        return self.used_units + self.held_units


def month_of(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m}"


def _evolve_budget(state: Budget, event: BudgetEvent) -> Budget:
    match event:
        case BudgetHeld() | BudgetSpent():
            return Budget(event.month, event.used_after, event.held_after)
        case BudgetReleased():
            return Budget(state.month, state.used_units, event.held_after)
        case _:
            assert_never(event)


BUDGET: Aggregate[BudgetEvent, Budget] = Aggregate(
    name="budget",
    state=Budget,
    initial_state=Budget,
    evolve=_evolve_budget,
    events=(BudgetHeld, BudgetSpent, BudgetReleased),
)
