"""Double entry: each ledger entry as a transfer, out of one account and into another.

What a user's account has, the platform's own accounts lack, so that all of them sum to zero. The
platform's accounts are derived from the transfers: none of them is locked, or written, for one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from services.credits.domain.account import (
    AdjustmentEntered,
    ChargeEntered,
    CommitEntered,
    Entry,
    ExpiryEntered,
    GrantEntered,
    HoldEntered,
    RefundEntered,
    ReleaseEntered,
)
from services.credits.domain.hold import LossEntered


class PlatformAccount(StrEnum):
    """Where granted credits come from, where used ones go, and who bears what nobody pays."""

    GRANTS = "platform:grants"
    REVENUE = "platform:revenue"
    LOSSES = "platform:losses"


class TransferKind(StrEnum):
    GRANT = "grant"
    HOLD = "hold"
    COMMIT = "commit"
    RELEASE = "release"
    REFUND = "refund"
    ADJUST = "adjust"
    CHARGE = "charge"
    EXPIRE = "expire"
    LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Transfer:
    """`units` leave `debit` and come to `credit`; a `pending` transfer only promises to, or takes
    the promise back. A user's account goes by its id."""

    kind: TransferKind
    debit: str
    credit: str
    units: int
    pending: bool = False


def transfer_of(event: Entry | LossEntered) -> Transfer:
    user, units = str(event.account_id), event.amount_units
    grants, revenue = PlatformAccount.GRANTS, PlatformAccount.REVENUE
    match event:
        case GrantEntered():
            return Transfer(TransferKind.GRANT, grants, user, units)
        case HoldEntered():
            return Transfer(TransferKind.HOLD, user, revenue, units, pending=True)
        case CommitEntered():
            return Transfer(TransferKind.COMMIT, user, revenue, units)
        case ReleaseEntered():
            return Transfer(TransferKind.RELEASE, revenue, user, units, pending=True)
        case RefundEntered():
            return Transfer(TransferKind.REFUND, revenue, user, units)
        case AdjustmentEntered(taken=True):
            return Transfer(TransferKind.ADJUST, user, grants, units)
        case AdjustmentEntered():
            return Transfer(TransferKind.ADJUST, grants, user, units)
        case ChargeEntered():
            return Transfer(TransferKind.CHARGE, user, revenue, units)
        case ExpiryEntered():
            return Transfer(TransferKind.EXPIRE, user, grants, units)
        case LossEntered():
            return Transfer(TransferKind.LOSS, PlatformAccount.LOSSES, revenue, units)
        case _:
            assert_never(event)
