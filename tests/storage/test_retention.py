"""Files older than their user's plan keeps them are deleted, and no others."""

from datetime import timedelta

import pytest

from services.storage.adapters import retention
from services.storage.adapters.quotas import Room, room_of
from services.storage.adapters.retention import Expiry
from services.storage.domain import Retention
from services.storage.settings import read_retention
from tests.storage.keeping import OTHER, USER
from tests.storage.upkeep import Upkeep, upkeep

__all__ = ["upkeep"]

DAY = timedelta(days=1)


async def expire(upkeep: Upkeep, rule: str) -> None:
    database, clock = upkeep.storage.database, upkeep.clock
    await Expiry(database, upkeep.deleting, read_retention(rule), clock).delete_old()
    await upkeep.attend()


async def owners(upkeep: Upkeep) -> list[object]:
    rows = await upkeep.files.rows("SELECT user_id FROM storage_read.files ORDER BY user_id")
    return [row["user_id"] for row in rows]


async def test_old_files_go_with_their_objects_and_room_and_young_ones_stay(
    upkeep: Upkeep,
) -> None:
    await upkeep.files.upload(USER)
    await upkeep.files.output(USER)
    upkeep.clock.turn(90 * DAY)
    young = await upkeep.files.upload(USER, 70)
    await expire(upkeep, "free=90d,*=")
    assert await room_of(upkeep.storage.database, USER) == Room(70, 1, 0)
    assert all(young.hex in name for name in upkeep.storage.there())
    assert len(upkeep.storage.there()) == 2
    deleted = await upkeep.files.said("FileDeleted")
    assert [said["reason"] for said in deleted] == ["expired", "expired"]
    assert await upkeep.findings() == []


async def test_a_file_stays_until_its_last_day_is_over(upkeep: Upkeep) -> None:
    await upkeep.files.upload(USER)
    upkeep.clock.turn(90 * DAY - timedelta(microseconds=1))
    await expire(upkeep, "free=90d")
    assert await owners(upkeep) == [USER]
    upkeep.clock.turn(timedelta(microseconds=1))
    await expire(upkeep, "free=90d")
    assert await owners(upkeep) == []


async def test_each_plan_has_its_own_time(upkeep: Upkeep) -> None:
    await upkeep.files.upload(USER)
    await upkeep.files.upload(OTHER)
    await upkeep.files.run(
        "INSERT INTO storage.plans VALUES ($1, $1, 'pro', $2)", OTHER, upkeep.clock.now()
    )
    upkeep.clock.turn(30 * DAY)
    await expire(upkeep, "free=10d,pro=")
    assert await owners(upkeep) == [OTHER]
    await expire(upkeep, "free=10d,*=30d")
    assert await owners(upkeep) == []


async def test_nothing_goes_unless_it_is_set(upkeep: Upkeep) -> None:
    await upkeep.files.upload(USER)
    upkeep.clock.turn(10_000 * DAY)
    await expire(upkeep, "")
    assert await owners(upkeep) == [USER]


async def test_any_number_of_files_goes_a_few_at_a_time(
    upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        await upkeep.files.upload(USER)
    upkeep.clock.turn(DAY)
    await expire(upkeep, "free=1d")
    assert await owners(upkeep) == []


@pytest.mark.parametrize(
    ("text", "by_plan"),
    [
        ("", {}),
        ("free=90d", {"free": 90 * DAY}),
        (" free = 90d , pro = , *=365d ", {"free": 90 * DAY, "pro": None, "*": 365 * DAY}),
    ],
)
def test_the_setting_is_read(text: str, by_plan: dict[str, timedelta | None]) -> None:
    assert read_retention(text) == Retention(by_plan)


@pytest.mark.parametrize(
    "text", ["free", "free=90", "free=0d", "=90d", "free=-1d", "free=1d,free=2d", "Free=1d", "a=1h"]
)
def test_a_setting_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"written like|twice"):
        read_retention(text)
