"""What a user's files took up, day by day; parts of a byte-hour are carried over, so that all days
together are exactly what lay there.

Bytes times microseconds come in, bytes times hours go out. Days are of UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID

from kernel.messages import Aggregate, Decider

MICROSECONDS_OF_AN_HOUR: Final = 3_600 * 10**6


@dataclass(frozen=True, slots=True)
class MeasureStorage:
    """`byte_microseconds` are those of the whole `day`, which is over."""

    user_id: UUID
    account_id: UUID
    day: date
    byte_microseconds: int


@dataclass(frozen=True, slots=True)
class StorageMeasured:
    """`carried` (of `MICROSECONDS_OF_AN_HOUR`) is part of a byte-hour and counts with the next
    day."""

    user_id: UUID
    account_id: UUID
    day: date
    byte_hours: int
    carried: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """`day` is the last one that was measured."""

    day: date | None = None
    carried: int = 0


def evolve_measurement(_: Measurement, event: StorageMeasured) -> Measurement:
    return Measurement(event.day, event.carried)


def decide_measurement(command: MeasureStorage, state: Measurement) -> Sequence[StorageMeasured]:
    """Nothing for a day on which nothing lay, and for one that is measured already: days come in
    their order."""
    if not command.byte_microseconds or (state.day is not None and command.day <= state.day):
        return ()
    hours, carried = divmod(state.carried + command.byte_microseconds, MICROSECONDS_OF_AN_HOUR)
    return (StorageMeasured(command.user_id, command.account_id, command.day, hours, carried),)


MEASUREMENT: Aggregate[StorageMeasured, Measurement] = Aggregate(
    name="measurement",
    state=Measurement,
    initial_state=Measurement,
    evolve=evolve_measurement,
    events=(StorageMeasured,),
)
MEASUREMENTS: Decider[MeasureStorage, StorageMeasured, Measurement] = Decider(
    MEASUREMENT, decide_measurement
)
