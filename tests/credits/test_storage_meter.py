"""The charge for stored files, one sentence each: exact to the last byte-hour over time."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Deferred, Rejected
from services.credits.domain import (
    ACCOUNT,
    BYTE_HOURS_OF_A_GB_MONTH,
    STORAGE_METER,
    Account,
    ChargeEntered,
    MeterStorage,
    StorageMeter,
    StorageMetered,
    meter_storage,
)
from tests.credits.test_domain import NOW, PAYER
from tests.credits.test_posting import OPEN

DAY = date(2026, 11, 14)
GB_DAY = 24 * 10**9
METER = MeterStorage(PAYER, DAY, 30 * GB_DAY, 100, NOW)
RICH = replace(OPEN, granted_units=10**12)


class Life:
    """One account and its meter."""

    def __init__(self, account: Account = RICH) -> None:
        self.account, self.meter = account, StorageMeter()

    def give(self, command: MeterStorage) -> None:
        for event in meter_storage(command, self.meter, self.account):
            if isinstance(event, StorageMetered):
                self.meter = STORAGE_METER.evolve(self.meter, event)
            else:
                self.account = ACCOUNT.evolve(self.account, event)


def test_thirty_gigabytes_for_a_day_cost_a_gigabyte_month() -> None:
    metered, entry = meter_storage(METER, StorageMeter(), OPEN)
    assert metered == StorageMetered(PAYER, DAY, 30 * GB_DAY, 100, 0, 0)
    assert isinstance(entry, ChargeEntered)
    assert (entry.amount_units, entry.used_after, entry.reason) == (100, 100, "storage:2026-11-14")


def test_a_day_is_charged_once() -> None:
    life = Life()
    life.give(METER)
    assert meter_storage(METER, life.meter, life.account) == ()


def test_days_may_come_in_any_order() -> None:
    life = Life()
    for day in (DAY, DAY - timedelta(days=2), DAY - timedelta(days=1)):
        life.give(replace(METER, day=day))
    assert life.account.used_units == 300


def test_parts_of_a_unit_are_carried_over() -> None:
    life = Life()
    for nth in range(30):
        life.give(replace(METER, day=DAY + timedelta(days=nth), byte_hours=GB_DAY))
    assert life.account.used_units == 100
    assert life.meter.carried == 0


@given(st.lists(st.integers(0, 10**15), max_size=40))
def test_what_was_charged_and_carried_is_what_was_stored(byte_hours: list[int]) -> None:
    life = Life()
    for nth, amount in enumerate(byte_hours):
        life.give(replace(METER, day=DAY + timedelta(days=nth), byte_hours=amount))
    worth = life.account.used_units * BYTE_HOURS_OF_A_GB_MONTH + life.meter.carried
    assert worth == sum(byte_hours) * METER.units_per_gb_month
    assert 0 <= life.meter.carried < BYTE_HOURS_OF_A_GB_MONTH


def test_never_takes_more_than_is_available_and_owes_the_rest() -> None:
    life = Life(replace(OPEN, held_units=40))
    life.give(replace(METER, byte_hours=90 * GB_DAY))
    assert (life.account.available_units, life.meter.unpaid_units) == (0, 240)
    life.account = replace(life.account, granted_units=1_000)
    life.give(replace(METER, day=DAY + timedelta(days=1), byte_hours=0))
    assert (life.account.used_units, life.meter.unpaid_units) == (300, 0)


def test_a_day_that_is_told_too_late_is_refused() -> None:
    life = Life()
    life.give(METER)
    with pytest.raises(Rejected):
        life.give(replace(METER, day=DAY - timedelta(days=62)))
    life.give(replace(METER, day=DAY - timedelta(days=61)))


def test_remembers_a_bounded_number_of_days() -> None:
    life = Life()
    for nth in range(200):
        life.give(replace(METER, day=DAY + timedelta(days=nth)))
    assert len(life.meter.days) == 62


def test_waits_for_an_account_that_is_not_known_yet() -> None:
    with pytest.raises(Deferred):
        meter_storage(METER, StorageMeter(), Account())
