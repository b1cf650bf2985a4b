"""An account: its events are its ledger entries, in order, each with the balance after it.

It stays small however many tasks it pays. Amounts are integers of 1/10,000 credit. Credits of a
grant that ends lie in a lot of their own until they are held; a hold takes them soonest-ending
first, and gives back what it does not spend.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias, TypedDict, assert_never
from uuid import UUID

from kernel.messages import Aggregate

BALANCE_UNITS_MAX: Final = 10**16
"""10^12 credits: the most that an account can have been granted, far inside 64 bits."""
LOTS_MAX: Final = 100
"""Grants with an end that lie open in one account: its state stays a few KiB."""


@dataclass(frozen=True, slots=True)
class Lot:
    """`units` of the grant are left until `expires_at`, neither spent nor held."""

    grant_id: str
    expires_at: datetime
    units: int


@dataclass(frozen=True, slots=True)
class AccountOpened:
    account_id: UUID
    user_id: UUID
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryMade:
    """What every entry has; `granted - used` is posted, and of it `held` is promised."""

    account_id: UUID
    amount_units: int
    granted_after: int
    used_after: int
    held_after: int

    @property
    def available_after(self) -> int:
        return self.granted_after - self.used_after - self.held_after


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEntered(EntryMade):
    """Credits given; what is left of them at `expires_at` ends then. `by` is the admin, if one."""

    grant_id: str
    reason: str
    expires_at: datetime | None = None
    by: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEntered(EntryMade):
    """`lots` is what of the amount came out of lots; `low_below_units` is set when the balance fell
    below it by this entry."""

    task_id: UUID
    lots: tuple[Lot, ...] = ()
    low_below_units: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitEntered(EntryMade):
    """`amount_units` became used; `released_units` more were held and went back, `lots` of them to
    where they came from."""

    task_id: UUID
    released_units: int
    lots: tuple[Lot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEntered(EntryMade):
    """`lots` went back to where they came from."""

    task_id: UUID
    lots: tuple[Lot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundEntered(EntryMade):
    """Of what the task was charged, `amount_units` are used no more."""

    task_id: UUID
    reason: str
    by: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentEntered(EntryMade):
    """A correction by hand: `amount_units` more, or `taken` away."""

    taken: bool
    reason: str
    lots: tuple[Lot, ...] = ()
    by: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeEntered(EntryMade):
    """Used without a hold, for what `reason` says; `lots` of it came out of lots."""

    reason: str
    lots: tuple[Lot, ...] = ()
    low_below_units: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryEntered(EntryMade):
    """What was left of a grant when it ended."""

    grant_id: str
    low_below_units: int | None = None


Entry: TypeAlias = (
    GrantEntered
    | HoldEntered
    | CommitEntered
    | ReleaseEntered
    | RefundEntered
    | AdjustmentEntered
    | ChargeEntered
    | ExpiryEntered
)
AccountEvent: TypeAlias = AccountOpened | Entry


class After(TypedDict):
    """An entry's balance, as its arguments."""

    granted_after: int
    used_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class Account:
    """`granted - used - held` is available, and never negative. `lots` are sorted by their end;
    their units are part of what is available."""

    is_open: bool = False
    granted_units: int = 0
    used_units: int = 0
    held_units: int = 0
    lots: tuple[Lot, ...] = ()

    @property
    def available_units(self) -> int:
        return self.granted_units - self.used_units - self.held_units

    def after(self, *, granted: int = 0, used: int = 0, held: int = 0) -> After:
        """The balance that so much more of each leaves."""
        return After(
            granted_after=self.granted_units + granted,
            used_after=self.used_units + used,
            held_after=self.held_units + held,
        )

    def crossed(self, taken_units: int, low_below_units: int) -> int | None:
        """`low_below_units`, if taking so much brings the balance below it."""
        available = self.available_units
        is_crossed = available - taken_units < low_below_units <= available
        return low_below_units if is_crossed else None


def taken_from(lots: Iterable[Lot], units: int) -> tuple[Lot, ...]:
    """What `units` take out of `lots`, in their order; what lots do not cover comes from none."""
    taken = []
    for lot in lots:
        if units <= 0:
            break
        part = min(lot.units, units)
        taken.append(replace(lot, units=part))
        units -= part
    return tuple(taken)


def left_of(lots: Sequence[Lot], taken: Iterable[Lot]) -> tuple[Lot, ...]:
    """`lots` without what was taken; a lot of which nothing is left is gone."""
    gone = {lot.grant_id: lot.units for lot in taken}
    left = (replace(lot, units=lot.units - gone.get(lot.grant_id, 0)) for lot in lots)
    return tuple(lot for lot in left if lot.units > 0)


def _with_back(lots: Sequence[Lot], back: Iterable[Lot]) -> tuple[Lot, ...]:
    merged = {lot.grant_id: lot for lot in lots}
    for lot in back:
        there = merged.get(lot.grant_id)
        merged[lot.grant_id] = lot if there is None else replace(lot, units=lot.units + there.units)
    return tuple(sorted(merged.values(), key=lambda lot: (lot.expires_at, lot.grant_id)))


def _evolve_account(state: Account, event: AccountEvent) -> Account:
    match event:
        case AccountOpened():
            return replace(state, is_open=True)
        case GrantEntered(grant_id=grant_id, expires_at=expires_at):
            ends = () if expires_at is None else (Lot(grant_id, expires_at, event.amount_units),)
            lots = _with_back(state.lots, ends)
        case HoldEntered() | ChargeEntered() | AdjustmentEntered():
            lots = left_of(state.lots, event.lots)
        case CommitEntered() | ReleaseEntered():
            lots = _with_back(state.lots, event.lots) if event.lots else state.lots
        case ExpiryEntered(grant_id=grant_id):
            lots = tuple(lot for lot in state.lots if lot.grant_id != grant_id)
        case RefundEntered():
            lots = state.lots
        case _:
            assert_never(event)
    return Account(state.is_open, event.granted_after, event.used_after, event.held_after, lots)


ACCOUNT: Aggregate[AccountEvent, Account] = Aggregate(
    name="account",
    state=Account,
    initial_state=Account,
    evolve=_evolve_account,
    events=(
        AccountOpened,
        GrantEntered,
        HoldEntered,
        CommitEntered,
        ReleaseEntered,
        RefundEntered,
        AdjustmentEntered,
        ChargeEntered,
        ExpiryEntered,
    ),
)


def ended_lots(
    account_id: UUID, account: Account, now: datetime, low_below_units: int = 0
) -> tuple[Sequence[ExpiryEntered], Account]:
    """The entries that take out what has ended by `now`, and the account after them."""
    entries = []
    for lot in account.lots:
        if lot.expires_at > now:
            break
        entry = ExpiryEntered(
            account_id=account_id,
            grant_id=lot.grant_id,
            amount_units=lot.units,
            low_below_units=account.crossed(lot.units, low_below_units),
            **account.after(granted=-lot.units),
        )
        entries.append(entry)
        account = _evolve_account(account, entry)
    return entries, account
