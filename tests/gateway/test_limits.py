"""One suite over what counts in this process and what counts in Redis."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from kernel.rates import Rate, RateClass
from kernel.testing import FakeClock
from services.gateway.adapters.limits import Charge, Limits, Verdict
from services.gateway.adapters.memory_limits import MemoryLimits
from services.gateway.adapters.redis_limits import RedisLimits
from tests.redis_server import own_names

MOMENT = timedelta(milliseconds=1)
PERIOD = timedelta(minutes=1)
PATIENCE_S = 10.0
"""For a Redis on a machine that is busy with other tests."""


@pytest.fixture(params=["memory", "redis"])
async def limits(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Limits]:
    if request.param == "memory":
        yield MemoryLimits(clock)
        return
    url = request.getfixturevalue("redis_url")
    async with own_names(url) as prefix:
        redis = RedisLimits(url, clock, prefix=prefix, timeout_s=PATIENCE_S)
        yield redis
        await redis.aclose()


def charge(
    subject: str = "key:1", amount: int = 2, rate_class: RateClass = RateClass.API
) -> Charge:
    return Charge(rate_class, subject, Rate(amount, 60))


async def admitted(limits: Limits, *charges: Charge) -> bool:
    return (await limits.take(charges)).refused is None


async def test_refuses_the_first_request_over_the_rate(limits: Limits) -> None:
    assert [await admitted(limits, charge()) for _ in range(4)] == [True, True, False, False]


async def test_says_how_much_room_is_left_and_when_there_will_be_more(
    limits: Limits, clock: FakeClock
) -> None:
    first_at_s = clock.now().timestamp()
    verdicts: list[Verdict] = []
    for _ in range(3):
        verdicts.append(await limits.take([charge()]))
        clock.turn(timedelta(seconds=7))
    assert [verdict.counts[0].remaining for verdict in verdicts] == [1, 0, 0]
    assert verdicts[2].refused == verdicts[2].counts[0]
    for verdict in verdicts:
        assert verdict.counts[0].resets_at_s == pytest.approx(first_at_s + 60, abs=0.001)


async def test_a_refused_request_leaves_no_trace(limits: Limits, clock: FakeClock) -> None:
    assert await admitted(limits, charge())
    clock.turn(timedelta(seconds=20))
    assert await admitted(limits, charge())
    clock.turn(timedelta(seconds=40) - MOMENT)
    assert [await admitted(limits, charge()) for _ in range(5)] == [False] * 5
    clock.turn(2 * MOMENT)
    assert [await admitted(limits, charge()) for _ in range(2)] == [True, False]


async def test_the_window_moves_so_that_no_minute_holds_more(
    limits: Limits, clock: FakeClock
) -> None:
    at_s: list[float] = []
    for _ in range(60):
        if await admitted(limits, charge(amount=5)):
            at_s.append(clock.now().timestamp())
        clock.turn(timedelta(seconds=3))
    assert len(at_s) == 15
    assert all(later - earlier > 60 for earlier, later in zip(at_s, at_s[5:], strict=False))


async def test_subjects_and_classes_share_nothing(limits: Limits) -> None:
    charges = [
        charge("key:1", 1),
        charge("key:2", 1),
        charge("user:1", 1),
        charge("key:1", 1, RateClass.GENERATION),
    ]
    assert [await admitted(limits, one) for one in charges] == [True] * 4
    assert [await admitted(limits, one) for one in charges] == [False] * 4


async def test_is_counted_for_both_or_for_nobody(limits: Limits) -> None:
    full, roomy = charge("address:1", 1), charge("user:1", 2)
    assert await admitted(limits, full, roomy)
    for charges in ((full, roomy), (roomy, full)):
        verdict = await limits.take(charges)
        assert verdict.refused is not None
        assert verdict.refused.charge == full
        assert {count.charge.subject: count.remaining for count in verdict.counts} == {
            "address:1": 0,
            "user:1": 1,
        }
    assert [await admitted(limits, roomy) for _ in range(2)] == [True, False]


async def test_what_is_given_back_can_be_taken_again(limits: Limits) -> None:
    assert [await admitted(limits, charge()) for _ in range(2)] == [True, True]
    await limits.give_back([charge()])
    assert [await admitted(limits, charge()) for _ in range(2)] == [True, False]


async def test_giving_back_what_was_never_taken_gives_nothing(limits: Limits) -> None:
    await limits.give_back([charge()])
    assert [await admitted(limits, charge()) for _ in range(3)] == [True, True, False]


async def test_another_rate_goes_on_with_what_was_counted(limits: Limits) -> None:
    assert [await admitted(limits, charge(amount=2)) for _ in range(2)] == [True, True]
    assert [await admitted(limits, charge(amount=3)) for _ in range(2)] == [True, False]
    assert not await admitted(limits, charge(amount=1))


async def test_of_many_at_once_exactly_the_rate_is_admitted(limits: Limits) -> None:
    taken = await asyncio.gather(*(admitted(limits, charge(amount=100)) for _ in range(300)))
    assert taken.count(True) == 100


async def test_who_leaves_while_it_is_counted_disturbs_nobody(limits: Limits) -> None:
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(admitted(limits, charge("user:1")))
        staying = group.create_task(admitted(limits, charge("user:2")))
        await asyncio.sleep(0)
        leaving.cancel()
    assert staying.result()
    assert await admitted(limits, charge("user:3"))


async def test_memory_holds_so_many_subjects_and_no_more(clock: FakeClock) -> None:
    limits = MemoryLimits(clock, subjects_max=10)
    for number in range(50):
        await limits.take([charge("user:busy", 100), charge(f"address:{number}")])
    assert len(limits) == 10
    assert (await limits.take([charge("user:busy", 100)])).counts[0].remaining == 49


async def test_a_clock_set_back_does_not_keep_anybody_out(clock: FakeClock) -> None:
    limits = MemoryLimits(clock)
    assert [await admitted(limits, charge()) for _ in range(2)] == [True, True]
    clock.turn(timedelta(days=-1))
    assert await admitted(limits, charge())


async def test_two_that_share_a_redis_count_together(
    redis_url: str, redis_prefix: str, clock: FakeClock
) -> None:
    both = [
        RedisLimits(redis_url, clock, prefix=redis_prefix, timeout_s=PATIENCE_S) for _ in range(2)
    ]
    taken = await asyncio.gather(
        *(admitted(both[turn % 2], charge(amount=50)) for turn in range(150))
    )
    assert taken.count(True) == 50
    for limits in both:
        await limits.aclose()


async def test_what_redis_keeps_ends_with_its_window(
    redis_url: str, redis_prefix: str, clock: FakeClock
) -> None:
    from redis.asyncio import Redis

    limits = RedisLimits(redis_url, clock, prefix=redis_prefix, timeout_s=PATIENCE_S)
    await limits.take([charge()])
    client = Redis.from_url(redis_url)
    keys = [key async for key in client.scan_iter(f"{redis_prefix}*")]
    assert keys == [f"{redis_prefix}api:key:1".encode()]
    assert 0 < await client.ttl(keys[0]) <= 60
    await client.aclose()
    await limits.aclose()


async def test_a_redis_that_forgot_the_scripts_is_told_them_again(
    redis_url: str, redis_prefix: str, clock: FakeClock
) -> None:
    from redis.asyncio import Redis

    limits = RedisLimits(redis_url, clock, prefix=redis_prefix, timeout_s=PATIENCE_S)
    assert await admitted(limits, charge())
    client = Redis.from_url(redis_url)
    await client.script_flush()
    await client.aclose()
    assert [await admitted(limits, charge()) for _ in range(2)] == [True, False]
    await limits.aclose()


async def test_a_redis_that_is_slow_to_say_goodbye_makes_no_fault_of_the_end(
    redis_url: str, redis_prefix: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = RedisLimits(redis_url, clock, prefix=redis_prefix)
    close = limits._client.aclose

    async def late() -> None:
        await close()
        raise RedisTimeoutError("Timed out closing connection after 0.1")

    monkeypatch.setattr(limits._client, "aclose", late)
    await limits.aclose()
