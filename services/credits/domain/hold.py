"""A hold: what one task has of its account's credits, or will never have.

It remembers for ever, so that a repeated, late or early message changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias, assert_never
from uuid import UUID

from kernel.messages import Aggregate
from services.credits.domain.account import Lot


@dataclass(frozen=True, slots=True)
class Purpose:
    """What the task is for, as usage shows it; `key_id` is the API key that asked, if one."""

    user_id: UUID
    key_id: UUID | None
    task_type: str
    model_id: str


@dataclass(frozen=True, slots=True)
class HoldPlaced:
    """`key_id` names whose monthly budget it counts against, None for a key without a limit.
    `lots` is what of the amount came out of lots."""

    task_id: UUID
    account_id: UUID
    amount_units: int
    key_id: UUID | None = None
    lots: tuple[Lot, ...] = ()
    purpose: Purpose | None = None


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
    """`outcome` is the row of the outcome policy that the task's end named."""

    task_id: UUID
    account_id: UUID
    amount_units: int
    released_units: int
    outcome: str = ""
    purpose: Purpose | None = None


@dataclass(frozen=True, slots=True)
class HoldReleased:
    task_id: UUID
    account_id: UUID
    amount_units: int
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class HoldRefunded:
    """`refunded_after` of what was charged have gone back by now."""

    task_id: UUID
    account_id: UUID
    amount_units: int
    refunded_after: int


@dataclass(frozen=True, slots=True)
class LossEntered:
    """A transfer between the platform's own accounts: what came too late to be charged, so that the
    platform bears it. `reason` is `late_charge`, of the whole task, or `late_delivery`, of output
    `index`."""

    task_id: UUID
    account_id: UUID
    amount_units: int
    reason: str
    index: int | None = None


HoldEvent: TypeAlias = (
    HoldPlaced
    | HoldRefused
    | HoldBarred
    | HoldCommitted
    | HoldReleased
    | HoldRefunded
    | LossEntered
)


class HoldStatus(StrEnum):
    NONE = "none"
    BARRED = "barred"
    REFUSED = "refused"
    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Hold:
    """`amount_units` is what was placed; `committed_units` what it ended by charging, of which
    `refunded_units` went back; `lost` are the outputs (None: all) that came too late. One account
    alone is asked for a task; `account_id` is None until the first word of it. `key_id` is the key
    whose budget it takes from."""

    status: HoldStatus = HoldStatus.NONE
    account_id: UUID | None = None
    amount_units: int = 0
    committed_units: int = 0
    key_id: UUID | None = None
    lots: tuple[Lot, ...] = ()
    purpose: Purpose | None = None
    refunded_units: int = 0
    lost: tuple[int | None, ...] = ()


def _evolve_hold(state: Hold, event: HoldEvent) -> Hold:
    match event:
        case HoldPlaced():
            return Hold(
                HoldStatus.HELD,
                event.account_id,
                event.amount_units,
                key_id=event.key_id,
                lots=event.lots,
                purpose=event.purpose,
            )
        case HoldRefused():
            return Hold(HoldStatus.REFUSED, event.account_id, event.required_units)
        case HoldBarred():
            return Hold(HoldStatus.BARRED, event.account_id)
        case HoldCommitted():
            return replace(
                state, status=HoldStatus.COMMITTED, committed_units=event.amount_units, lots=()
            )
        case HoldReleased():
            return replace(state, status=HoldStatus.RELEASED, lots=())
        case HoldRefunded():
            return replace(state, refunded_units=event.refunded_after)
        case LossEntered():
            return replace(state, lost=(*state.lost, event.index))
        case _:
            assert_never(event)


HOLD: Aggregate[HoldEvent, Hold] = Aggregate(
    name="hold",
    state=Hold,
    initial_state=Hold,
    evolve=_evolve_hold,
    events=(
        HoldPlaced,
        HoldRefused,
        HoldBarred,
        HoldCommitted,
        HoldReleased,
        HoldRefunded,
        LossEntered,
    ),
)
