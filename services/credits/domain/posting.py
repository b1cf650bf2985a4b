"""What admins post by hand: grants, adjustments and refunds, each once, under an id of theirs.

The same id with the same words changes nothing; with others it is refused, for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from kernel.errors import Invalid, NotFound, Rejected
from kernel.messages import Aggregate
from kernel.money import to_credits
from services.credits.domain.account import (
    BALANCE_UNITS_MAX,
    LOTS_MAX,
    Account,
    AccountEvent,
    AdjustmentEntered,
    GrantEntered,
    RefundEntered,
    ended_lots,
    taken_from,
)
from services.credits.domain.hold import Hold, HoldEvent, HoldRefunded
from services.credits.domain.ledger import INSUFFICIENT

NO_TASK: Final = Hold()


class PostingKind(StrEnum):
    GRANT = "grant"
    ADJUST = "adjust"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class PostingMade:
    """`taken`: an adjustment that takes away. `task_id` is what a refund gives back for."""

    posting_id: str
    account_id: UUID
    kind: PostingKind
    amount_units: int
    reason: str
    by: UUID
    taken: bool = False
    expires_at: datetime | None = None
    task_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    made: PostingMade | None = None


def _evolve_posting(_: Posting, event: PostingMade) -> Posting:
    return Posting(event)


POSTING: Aggregate[PostingMade, Posting] = Aggregate(
    name="posting",
    state=Posting,
    initial_state=Posting,
    evolve=_evolve_posting,
    events=(PostingMade,),
)

PostingEvent: TypeAlias = PostingMade | AccountEvent | HoldEvent
WHO: Final = {"by"}
"""Another admin may repeat it."""


def post(
    asked: PostingMade, now: datetime, posting: Posting, account: Account, hold: Hold
) -> Sequence[PostingEvent]:
    """`hold` is that of a refund's task. Raises `Rejected` (`posting_differs`, `balance_too_large`,
    `too_many_grants`, `exceeds_charge`), `Invalid` (an end that is past, more taken than there is)
    or `NotFound` (no such account, or task of it)."""
    if posting.made is not None:
        return _repeated(asked, posting.made)
    if not account.is_open:
        raise account_not_found()
    ended, account = ended_lots(asked.account_id, account, now)
    match asked.kind:
        case PostingKind.GRANT:
            return [asked, *ended, granted(_grant_of(asked), account, now)]
        case PostingKind.ADJUST:
            return [asked, *ended, _adjusted(asked, account)]
        case PostingKind.REFUND:
            return [asked, *ended, *_refunded(asked, account, hold)]
        case _:
            assert_never(asked.kind)


def account_not_found() -> NotFound:
    return NotFound("account_not_found", "There is no such account.")


@dataclass(frozen=True, slots=True)
class Grant:
    """What is left of it at `expires_at` ends then; None is never."""

    account_id: UUID
    grant_id: str
    amount_units: int
    reason: str
    expires_at: datetime | None = None
    by: UUID | None = None


def granted(grant: Grant, account: Account, now: datetime) -> GrantEntered:
    """Raises `Invalid` for an end that is past, `Rejected` for what is more than an account can
    have."""
    if grant.expires_at is not None and grant.expires_at <= now:
        raise Invalid("invalid_request", "expires_at: is past.", {"field": "expires_at"})
    if grant.expires_at is not None and len(account.lots) >= LOTS_MAX:
        raise Rejected(
            "too_many_grants",
            "Too many grants with an end are open in this account.",
            {"open": len(account.lots), "max": LOTS_MAX},
        )
    _refuse_too_large(account, grant.amount_units)
    return GrantEntered(
        account_id=grant.account_id,
        grant_id=grant.grant_id,
        reason=grant.reason,
        amount_units=grant.amount_units,
        expires_at=grant.expires_at,
        by=grant.by,
        **account.after(granted=grant.amount_units),
    )


def _grant_of(asked: PostingMade) -> Grant:
    return Grant(
        asked.account_id,
        asked.posting_id,
        asked.amount_units,
        asked.reason,
        asked.expires_at,
        asked.by,
    )


def _adjusted(asked: PostingMade, account: Account) -> AdjustmentEntered:
    if not asked.taken:
        _refuse_too_large(account, asked.amount_units)
    elif asked.amount_units > account.available_units:
        raise Invalid(
            INSUFFICIENT,
            "More than is available can't be taken away.",
            {
                "field": "amount",
                "required": to_credits(asked.amount_units),
                "available": to_credits(account.available_units),
            },
        )
    change = -asked.amount_units if asked.taken else asked.amount_units
    return AdjustmentEntered(
        account_id=asked.account_id,
        amount_units=asked.amount_units,
        taken=asked.taken,
        reason=asked.reason,
        by=asked.by,
        lots=taken_from(account.lots, asked.amount_units) if asked.taken else (),
        **account.after(granted=change),
    )


def _refunded(asked: PostingMade, account: Account, hold: Hold) -> Sequence[PostingEvent]:
    if asked.task_id is None or hold.account_id != asked.account_id:
        raise NotFound("task_not_found", "This account has no such task.")
    left = hold.committed_units - hold.refunded_units
    if asked.amount_units > left:
        raise Rejected(
            "exceeds_charge",
            "A refund can't be more than what was charged and not refunded yet.",
            {"required": to_credits(asked.amount_units), "available": to_credits(left)},
        )
    entry = RefundEntered(
        account_id=asked.account_id,
        task_id=asked.task_id,
        amount_units=asked.amount_units,
        reason=asked.reason,
        by=asked.by,
        **account.after(used=-asked.amount_units),
    )
    refunded = HoldRefunded(
        asked.task_id,
        asked.account_id,
        asked.amount_units,
        hold.refunded_units + asked.amount_units,
    )
    return entry, refunded


def _refuse_too_large(account: Account, amount_units: int) -> None:
    room = BALANCE_UNITS_MAX - account.granted_units
    if amount_units > room:
        raise Rejected(
            "balance_too_large",
            "An account can't have that much.",
            {"required": to_credits(amount_units), "available": to_credits(room)},
        )


def _repeated(asked: PostingMade, made: PostingMade) -> Sequence[PostingEvent]:
    differs = [
        field.name
        for field in fields(made)
        if field.name not in WHO and getattr(asked, field.name) != getattr(made, field.name)
    ]
    if differs:
        raise Rejected(
            "posting_differs",
            f"This id was used before, with another {', '.join(differs)}.",
            {"fields": differs},
        )
    return ()
