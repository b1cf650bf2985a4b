"""A hold: what one task has of its account's credits, or will never have.

It remembers for ever, so that a repeated, late or early message changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias, assert_never
from uuid import UUID

from kernel.messages import Aggregate


@dataclass(frozen=True, slots=True)
class HoldPlaced:
    """`key_id` names whose monthly budget it counts against, None for a key without a limit."""

    task_id: UUID
    account_id: UUID
    amount_units: int
    key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class HoldRefused:
    """`limit_units` and `used_units` (spent this month and held) are the key's, where its monthly
    limit is the reason."""

    task_id: UUID
    account_id: UUID
    reason: str
    required_units: int
    available_units: int
    limit_units: int | None = None
    used_units: int | None = None


@dataclass(frozen=True, slots=True)
class HoldBarred:
    """The task ended before its reservation was heard: that reservation will be refused."""

    task_id: UUID
    account_id: UUID


@dataclass(frozen=True, slots=True)
class HoldCommitted:
    task_id: UUID
    account_id: UUID
    amount_units: int
    released_units: int


@dataclass(frozen=True, slots=True)
class HoldReleased:
    task_id: UUID
    account_id: UUID
    amount_units: int


HoldEvent: TypeAlias = HoldPlaced | HoldRefused | HoldBarred | HoldCommitted | HoldReleased


class HoldStatus(StrEnum):
    NONE = "none"
    BARRED = "barred"
    REFUSED = "refused"
    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Hold:
    """`amount_units` is what was placed; `committed_units` what it ended by charging. One account
    alone is asked for a task; `account_id` is None until the first word of it. `key_id` is the key
    whose budget it takes from."""

    status: HoldStatus = HoldStatus.NONE
    account_id: UUID | None = None
    amount_units: int = 0
    committed_units: int = 0
    key_id: UUID | None = None


def _evolve_hold(state: Hold, event: HoldEvent) -> Hold:
    match event:
        case HoldPlaced():
            return Hold(HoldStatus.HELD, event.account_id, event.amount_units, key_id=event.key_id)
        case HoldRefused():
            return Hold(HoldStatus.REFUSED, event.account_id, event.required_units)
        case HoldBarred():
            return Hold(HoldStatus.BARRED, event.account_id)
        case HoldCommitted():
            return replace(state, status=HoldStatus.COMMITTED, committed_units=event.amount_units)
        case HoldReleased():
            return replace(state, status=HoldStatus.RELEASED)
        case _:
            assert_never(event)


HOLD: Aggregate[HoldEvent, Hold] = Aggregate(
    name="hold",
    state=Hold,
    initial_state=Hold,
    evolve=_evolve_hold,
    events=(HoldPlaced, HoldRefused, HoldBarred, HoldCommitted, HoldReleased),
)
