"""Why a task was charged: what happened to it in generation and on the ledger, in order of cause.

Both tell their own events in order; what comes first between them is told by causes, because their
clocks differ.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from services.credits.domain.hold import (
    Hold,
    HoldBarred,
    HoldCommitted,
    HoldEvent,
    HoldPlaced,
    HoldRefunded,
    HoldRefused,
    HoldReleased,
    HoldStatus,
    LossEntered,
)
from services.credits.domain.transfer import TransferKind

DECLINED: Final = "declined"
"""The outcome of a task that was declined, which its event does not repeat."""
Facts: TypeAlias = Mapping[str, str | int | None]
"""By name; what ends in `_units` is 1/10,000 credit."""


@dataclass(frozen=True, slots=True)
class Happening:
    """`causation_id` is the event that led here, if one did, and `request_id` the request that all
    of it is for. `entered` is the kind of the ledger entry that was made with it."""

    service: str
    type: str
    event_id: UUID
    at: datetime
    causation_id: UUID | None
    request_id: str
    facts: Facts
    entered: TransferKind | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`outcome` is the row of the outcome policy that was followed; `is_complete`: generation's
    part is in it too. `price_units` is None where only generation could tell."""

    request_id: str
    price_units: int | None
    outcome: str | None
    charged_units: int
    refunded_units: int
    is_complete: bool
    happenings: Sequence[Happening]


def explained(tasks: Sequence[Happening], holds: Sequence[Happening], hold: Hold) -> Explanation:
    """`holds` is what happened to `hold`, at least one thing; of `tasks` there is nothing when
    generation does not answer."""
    return Explanation(
        request_id=(*tasks, *holds)[0].request_id,
        price_units=_price_of(tasks, hold),
        outcome=_outcome_of((*tasks, *holds)),
        charged_units=hold.committed_units,
        refunded_units=hold.refunded_units,
        is_complete=bool(tasks),
        happenings=by_cause(tasks, holds),
    )


def told(event: HoldEvent) -> tuple[str, Facts, TransferKind | None]:
    """What the event is called (as others hear of it, if they do), what of it explains a charge,
    and the kind of its entry."""
    match event:
        case HoldPlaced():
            facts: Facts = {"amount_units": event.amount_units}
            return "CreditsReserved", facts, TransferKind.HOLD
        case HoldRefused():
            facts = {
                "reason": event.reason,
                "required_units": event.required_units,
                "available_units": event.available_units,
                "limit_units": event.limit_units,
                "used_units": event.used_units,
            }
            return "CreditsDeclined", facts, None
        case HoldCommitted():
            facts = {
                "amount_units": event.amount_units,
                "released_units": event.released_units,
                "outcome": event.outcome or None,
            }
            return "CreditsCommitted", facts, TransferKind.COMMIT
        case HoldReleased():
            facts = {"amount_units": event.amount_units, "outcome": event.outcome or None}
            return "CreditsReleased", facts, TransferKind.RELEASE
        case HoldRefunded():
            return "HoldRefunded", {"amount_units": event.amount_units}, TransferKind.REFUND
        case LossEntered():
            facts = {
                "amount_units": event.amount_units,
                "reason": event.reason,
                "index": event.index,
            }
            return "LossEntered", facts, TransferKind.LOSS
        case HoldBarred():
            return "HoldBarred", {}, None
        case _:
            assert_never(event)


def by_cause(tasks: Iterable[Happening], holds: Iterable[Happening]) -> Sequence[Happening]:
    """Both, each in its own order. Of the two that are next, one whose cause is still to come
    waits; else the earlier is first, and generation's of two at the same time."""
    left, right = deque(tasks), deque(holds)
    ordered = []
    while left and right:
        if _caused_by_any(right[0], left):
            is_left = True
        elif _caused_by_any(left[0], right):
            is_left = False
        else:
            is_left = left[0].at <= right[0].at
        ordered.append((left if is_left else right).popleft())
    return [*ordered, *left, *right]


def _price_of(tasks: Iterable[Happening], hold: Hold) -> int | None:
    for task in tasks:
        if isinstance(price_units := task.facts.get("price_units"), int):
            return price_units
    return None if hold.status == HoldStatus.BARRED else hold.amount_units


def _outcome_of(happenings: Sequence[Happening]) -> str | None:
    """The last one that is named: what the ledger followed, if it did anything."""
    for one in reversed(happenings):
        if one.type == "TaskDeclined":
            return DECLINED
        if outcome := one.facts.get("outcome"):
            return str(outcome)
    return None


def _caused_by_any(effect: Happening, others: Iterable[Happening]) -> bool:
    return any(effect.causation_id == other.event_id for other in others)
