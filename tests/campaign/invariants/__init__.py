"""What must hold, one function each, over the final reads. A later one joins `INVARIANTS`."""

from collections.abc import Callable, Iterable, Sequence

from tests.campaign.final_reads import FinalReads
from tests.campaign.invariants.files import completed_outputs_are_on_disk
from tests.campaign.invariants.ledger import balances_add_up, holds_end_once
from tests.campaign.invariants.messages import (
    handled_once,
    nothing_is_parked,
    requests_have_one_effect,
)
from tests.campaign.invariants.providers import asked_once
from tests.campaign.invariants.tasks import (
    charged_if_completed,
    late_outputs_are_losses,
    tasks_end,
)
from tests.campaign.invariants.violation import Violation

Invariant = Callable[[FinalReads], Iterable[Violation]]

INVARIANTS: Sequence[Invariant] = (
    tasks_end,
    holds_end_once,
    balances_add_up,
    charged_if_completed,
    late_outputs_are_losses,
    completed_outputs_are_on_disk,
    handled_once,
    requests_have_one_effect,
    asked_once,
    nothing_is_parked,
)

__all__ = ["INVARIANTS", "Invariant", "Violation"]
