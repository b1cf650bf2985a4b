"""What an account owes for its stored files, day by day; parts of a unit are carried over.

1/10,000 credit a unit. The price is for a GB-month: 10^9 bytes for 30 days of 24 hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from kernel.errors import Deferred, Rejected
from kernel.messages import Aggregate
from services.credits.domain.account import (
    Account,
    AccountEvent,
    ChargeEntered,
    ended_lots,
    taken_from,
)

BYTE_HOURS_OF_A_GB_MONTH: Final = 10**9 * 24 * 30
DAYS_KEPT: Final = 62
"""A day that is told later than that is refused: whether it was charged is not known any more."""


@dataclass(frozen=True, slots=True)
class StorageMetered:
    """`charged_units` were taken for `day`; `carried` (of `BYTE_HOURS_OF_A_GB_MONTH`) is part of a
    unit, and `unpaid_units` is what the balance did not cover. Both count with the next day."""

    account_id: UUID
    day: date
    byte_hours: int
    charged_units: int
    carried_after: int
    unpaid_after: int


@dataclass(frozen=True, slots=True)
class StorageMeter:
    """`days` are those that were metered lately, ascending."""

    days: tuple[date, ...] = ()
    carried: int = 0
    unpaid_units: int = 0


def _evolve_meter(state: StorageMeter, event: StorageMetered) -> StorageMeter:
    days = sorted({*state.days, event.day})
    oldest = days[-1] - timedelta(days=DAYS_KEPT)
    return StorageMeter(
        tuple(day for day in days if day > oldest), event.carried_after, event.unpaid_after
    )


STORAGE_METER: Aggregate[StorageMetered, StorageMeter] = Aggregate(
    name="storage",
    state=StorageMeter,
    initial_state=StorageMeter,
    evolve=_evolve_meter,
    events=(StorageMetered,),
)


@dataclass(frozen=True, slots=True)
class MeterStorage:
    """`byte_hours` of `day`, at `units_per_gb_month`."""

    account_id: UUID
    day: date
    byte_hours: int
    units_per_gb_month: int
    now: datetime
    low_below_units: int = 0


MeterEvent: TypeAlias = StorageMetered | AccountEvent


def meter_storage(
    command: MeterStorage, meter: StorageMeter, account: Account
) -> Sequence[MeterEvent]:
    """Charge for the day, at most what is available. Nothing for a day that is charged already.

    Raises `Deferred` for an account that is not known yet, `Rejected` for a day too long ago.
    """
    if command.day in meter.days:
        return ()
    if meter.days and command.day <= meter.days[-1] - timedelta(days=DAYS_KEPT):
        raise Rejected("day_too_old", "Whether this day was charged is not known any more.")
    if not account.is_open:
        raise Deferred(f"account {command.account_id} is not known yet")
    ended, account = ended_lots(command.account_id, account, command.now, command.low_below_units)
    worth = meter.carried + command.byte_hours * command.units_per_gb_month
    due, carried = divmod(worth, BYTE_HOURS_OF_A_GB_MONTH)
    due += meter.unpaid_units
    charged = min(due, account.available_units)
    metered = StorageMetered(
        command.account_id, command.day, command.byte_hours, charged, carried, due - charged
    )
    if not charged:
        return [metered, *ended]
    entry = ChargeEntered(
        account_id=command.account_id,
        amount_units=charged,
        reason=f"storage:{command.day.isoformat()}",
        lots=taken_from(account.lots, charged),
        low_below_units=account.crossed(charged, command.low_below_units),
        **account.after(used=charged),
    )
    return [metered, *ended, entry]
