"""How long files are kept, by their users' plans."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from services.storage.domain.quota import ANY_PLAN

FIRST_PLAN: Final = "free"
"""Of a user of whose plan nobody has said anything."""


@dataclass(frozen=True, slots=True)
class Retention:
    """None is for ever; `*` is every plan that is not named."""

    by_plan: Mapping[str, timedelta | None] = field(default_factory=dict)

    def of(self, plan: str | None) -> timedelta | None:
        return self.by_plan.get(plan or FIRST_PLAN, self.by_plan.get(ANY_PLAN))

    @property
    def shortest(self) -> timedelta | None:
        """No file that is younger is ever deleted for its age; None where none is at all."""
        return min((kept for kept in self.by_plan.values() if kept is not None), default=None)
