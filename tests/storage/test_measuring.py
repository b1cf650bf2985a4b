"""What a day took up is said once for each user, and all days together are what lay there."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.clock import SystemClock
from kernel.event_store import EventStore
from kernel.projections import verify
from kernel.testing import FakeClock
from services.storage.adapters import measuring
from services.storage.adapters.measuring import DAYS_MAX, GRACE, Measuring
from services.storage.app import AGGREGATES
from services.storage.domain import (
    MEASUREMENT,
    MICROSECONDS_OF_AN_HOUR,
    MeasureStorage,
    decide_measurement,
)
from tests.storage.keeping import OTHER, USER, Kept, kept

__all__ = ["kept"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> FakeClock:
    """Noon of some day."""
    return FakeClock(datetime.combine(SystemClock().now().date(), time(12), UTC))


async def measured(kept: Kept) -> list[tuple[str, int]]:
    """Every day that was said, and its byte-hours."""
    await Measuring(kept.store).measure()
    return [(said["day"], said["byte_hours"]) for said in await kept.said("StorageMeasured")]


def day(kept: Kept, ago: int) -> str:
    return (kept.clock.now().date() - ago * DAY).isoformat()


async def test_a_file_that_came_at_noon_took_up_half_a_day(kept: Kept) -> None:
    await kept.upload(size=1_000)
    kept.clock.turn(DAY)
    assert await measured(kept) == [(day(kept, 1), 12_000)]


async def test_outputs_and_uploads_count_and_what_left_counts_until_then(kept: Kept) -> None:
    upload = await kept.upload(size=1_000)
    output = await kept.output(size=500)
    kept.clock.turn(2 * HOUR)
    await kept.drop_upload(upload)
    kept.clock.turn(2 * HOUR)
    await kept.drop_output(output)
    kept.clock.turn(DAY)
    assert await measured(kept) == [(day(kept, 1), 4_000)]


async def test_each_user_is_told_with_who_pays(kept: Kept) -> None:
    await kept.upload(USER, size=10)
    await kept.upload(OTHER, size=20)
    kept.clock.turn(DAY)
    await measured(kept)
    said = await kept.said("StorageMeasured")
    assert [(one["user_id"], one["account_id"], one["byte_hours"]) for one in said] == [
        (str(USER), str(USER), 120),
        (str(OTHER), str(OTHER), 240),
    ]


async def test_a_day_is_said_once_however_often_and_by_whomever_it_is_measured(
    kept: Kept,
) -> None:
    await kept.upload(size=1_000)
    kept.clock.turn(DAY)
    other = EventStore(kept.database, "storage", AGGREGATES, clock=kept.clock)
    await asyncio.gather(*(Measuring(store).measure() for store in [kept.store, other] * 3))
    await kept.run("DELETE FROM storage.rounds")  # the process died before it said how far it was
    await Measuring(kept.store).measure()
    rows = await kept.rows("SELECT data FROM storage.events WHERE type = 'StorageMeasured'")
    assert [row["data"]["byte_hours"] for row in rows] == [12_000]
    assert await verify(kept.database, "storage", AGGREGATES) == []


async def test_days_without_service_are_measured_afterwards(kept: Kept) -> None:
    await kept.upload(size=1_000)
    kept.clock.turn(3 * DAY)
    assert await measured(kept) == [
        (day(kept, 3), 12_000),
        (day(kept, 2), 24_000),
        (day(kept, 1), 24_000),
    ]


async def test_no_more_days_are_caught_up_with_than_credits_takes(kept: Kept) -> None:
    await kept.upload(size=1_000)
    kept.clock.turn((DAYS_MAX + 10) * DAY)
    said = await measured(kept)
    assert len(said) == DAYS_MAX
    assert (said[0][0], said[-1][0]) == (day(kept, DAYS_MAX), day(kept, 1))


async def test_a_day_is_over_when_all_that_was_written_on_it_is_there(kept: Kept) -> None:
    await kept.upload(size=1_000)
    kept.clock.turn(12 * HOUR + GRACE - timedelta(seconds=1))
    assert await measured(kept) == []
    kept.clock.turn(timedelta(seconds=1))
    assert len(await measured(kept)) == 1


async def test_nothing_is_said_of_a_user_who_has_nothing_any_more(kept: Kept) -> None:
    upload = await kept.upload(size=1_000)
    kept.clock.turn(HOUR)
    await kept.drop_upload(upload)
    kept.clock.turn(3 * DAY)
    assert await measured(kept) == [(day(kept, 3), 1_000)]


async def test_nothing_is_said_where_no_file_ever_lay(kept: Kept) -> None:
    assert await measured(kept) == []


async def test_nothing_is_said_of_who_has_been_erased(kept: Kept) -> None:
    await kept.upload(size=1_000)
    await kept.run(
        "INSERT INTO storage.erasures (user_id, since) VALUES ($1, $2)", USER, kept.clock.now()
    )
    kept.clock.turn(DAY)
    assert await measured(kept) == []


async def test_an_early_output_is_paid_for_by_the_account_that_the_plan_is_of(kept: Kept) -> None:
    await kept.output(size=10, account_id=None)
    await kept.run(
        "INSERT INTO storage.plans VALUES ($1, $2, 'pro', $3)", USER, OTHER, kept.clock.now()
    )
    kept.clock.turn(DAY)
    await measured(kept)
    (said,) = await kept.said("StorageMeasured")
    assert said["account_id"] == str(OTHER)


async def test_who_has_no_account_that_anybody_knows_is_left_out(kept: Kept) -> None:
    await kept.output(size=10, account_id=None)
    await kept.upload(OTHER, size=20)
    kept.clock.turn(DAY)
    assert await measured(kept) == [(day(kept, 1), 240)]


async def test_any_number_of_users_is_measured_a_few_at_a_time(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "USERS_AT_ONCE", 2)
    for number in range(5):
        await kept.upload(UUID(int=number + 1), size=10)
    kept.clock.turn(DAY)
    assert len(await measured(kept)) == 5


async def test_parts_of_a_byte_hour_are_carried_to_the_next_day(kept: Kept) -> None:
    await kept.upload(size=1)
    kept.clock.turn(timedelta(minutes=45))
    await kept.drop_upload((await kept.rows("SELECT * FROM storage_read.files"))[0]["upload_id"])
    kept.clock.turn(DAY)
    await kept.upload(size=1)
    kept.clock.turn(timedelta(minutes=45))
    await kept.drop_upload((await kept.rows("SELECT * FROM storage_read.files"))[0]["upload_id"])
    kept.clock.turn(DAY)
    assert await measured(kept) == [(day(kept, 1), 1)]
    rows = await kept.rows("SELECT data FROM storage.events WHERE type = 'StorageMeasured'")
    assert [row["data"]["carried"] for row in rows] == [
        MICROSECONDS_OF_AN_HOUR * 3 // 4,
        MICROSECONDS_OF_AN_HOUR // 2,
    ]


stays = st.lists(
    st.tuples(
        st.integers(1, 2**40),
        st.integers(0, 5 * 86_400 * 10**6),
        st.integers(0, 5 * 86_400 * 10**6),
    ),
    max_size=12,
)


@given(history=stays)
@settings(max_examples=200, deadline=None)
def test_all_days_together_are_what_lay_there(history: list[tuple[int, int, int]]) -> None:
    day_us = 86_400 * 10**6
    state = MEASUREMENT.initial_state()
    hours = 0
    for number in range(11):
        begin, end = number * day_us, (number + 1) * day_us
        lain = sum(
            size * max(0, min(since + length, end) - max(since, begin))
            for size, since, length in history
        )
        command = MeasureStorage(USER, USER, date(2026, 1, 1) + number * DAY, lain)
        for _ in range(2):
            for event in decide_measurement(command, state):
                state = MEASUREMENT.evolve(state, event)
                hours += event.byte_hours
    whole = sum(size * length for size, _, length in history)
    assert hours * MICROSECONDS_OF_AN_HOUR + state.carried == whole
    assert hours == whole // MICROSECONDS_OF_AN_HOUR


async def test_the_days_of_any_stays_in_the_tables_are_the_whole_too(kept: Kept) -> None:
    """Over the SQL: spans of odd microseconds over several midnights."""
    noon = kept.clock.now()
    spans = [
        (1_234_567_891, 123_456_789, 200_000_000_001),
        (3, 0, 86_400_000_000),
        (2**40, 43_200_000_000 - 1, 1),
        (7, 43_199_999_999, 86_400_000_001),
    ]
    for number, (size, since, length) in enumerate(spans):
        begin = noon + timedelta(microseconds=since)
        await kept.run(
            "INSERT INTO storage_read.stays (key, user_id, account_id, size, since, until)"
            " VALUES ($1, $2, $2, $3, $4, $5)",
            *(f"uploads/{number}", USER, size, begin, begin + timedelta(microseconds=length)),
        )
    kept.clock.turn(5 * DAY)
    hours = sum(byte_hours for _, byte_hours in await measured(kept))
    whole = sum(size * length for size, _, length in spans)
    assert hours == whole // MICROSECONDS_OF_AN_HOUR
