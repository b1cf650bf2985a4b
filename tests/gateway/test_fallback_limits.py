"""A Redis that dies, hangs and comes back: limits are never gone, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from kernel.rates import Rate, RateClass
from kernel.telemetry.metrics import REGISTRY
from kernel.testing import FakeClock
from services.gateway.adapters.fallback_limits import FallbackLimits
from services.gateway.adapters.limits import Charge, Limits, LimitsUnavailable, Verdict
from services.gateway.adapters.memory_limits import MemoryLimits
from services.gateway.adapters.redis_limits import WAITING_MAX, RedisLimits
from tests.redis_server import OwnRedis

SOON_S = 0.01
NEVER_S = 3_600.0
BOUND_S = 20
"""Of a wait that would have no end without a time-out."""


def charge(subject: str = "key:1", amount: int = 5) -> Charge:
    return Charge(RateClass.API, subject, Rate(amount, 60))


async def admitted(limits: Limits, *charges: Charge) -> bool:
    return (await limits.take(charges or [charge()])).refused is None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - a probe in the background tells nobody
            await asyncio.sleep(SOON_S)


def gauge() -> float | None:
    return REGISTRY.get_sample_value("smartspec_rate_limit_fallback")


class Shared:
    """What others count on too, as a test says."""

    def __init__(self, clock: FakeClock) -> None:
        self.limits = MemoryLimits(clock)
        self.asked: list[str] = []
        self.away = False

    async def take(self, charges: Sequence[Charge]) -> Verdict:
        self.asked += [charge.subject for charge in charges]
        if self.away:
            raise LimitsUnavailable("away")
        return await self.limits.take(charges)

    async def give_back(self, charges: Sequence[Charge]) -> None:
        if self.away:
            raise LimitsUnavailable("away")
        await self.limits.give_back(charges)

    async def aclose(self) -> None:
        pass


@pytest.fixture
def shared(clock: FakeClock) -> Shared:
    return Shared(clock)


@pytest.fixture
async def limits(shared: Shared, clock: FakeClock) -> AsyncIterator[FallbackLimits]:
    """Its look again never comes."""
    limits = FallbackLimits(shared, MemoryLimits(clock), NEVER_S)
    yield limits
    await limits.aclose()


async def test_what_is_over_the_limit_here_is_not_asked_elsewhere(
    shared: Shared, limits: FallbackLimits
) -> None:
    assert [await admitted(limits) for _ in range(8)] == [True] * 5 + [False] * 3
    assert len(shared.asked) == 5


async def test_what_is_refused_elsewhere_is_given_back_here(
    shared: Shared, limits: FallbackLimits, clock: FakeClock
) -> None:
    for _ in range(5):
        await shared.limits.take([charge()])  # at another gateway
    clock.turn(timedelta(seconds=30))
    assert [await admitted(limits) for _ in range(9)] == [False] * 9
    clock.turn(timedelta(seconds=31))
    assert [await admitted(limits) for _ in range(6)] == [True] * 5 + [False]


async def test_without_it_the_count_goes_on_from_what_was_seen_here(
    shared: Shared, limits: FallbackLimits
) -> None:
    assert [await admitted(limits) for _ in range(2)] == [True, True]
    shared.away = True
    assert [await admitted(limits) for _ in range(5)] == [True] * 3 + [False] * 2


async def test_it_is_asked_once_and_then_left_alone(shared: Shared, limits: FallbackLimits) -> None:
    shared.away = True
    with capture_logs() as logs:
        await asyncio.gather(*(admitted(limits, charge(f"user:{user}")) for user in range(9)))
        assert [await admitted(limits) for _ in range(5)] == [True] * 5
    assert "key:1" not in shared.asked
    assert [line["event"] for line in logs] == ["rate_limits_not_shared"]
    assert gauge() == 1


async def test_it_is_asked_again_when_it_counts_again(shared: Shared, clock: FakeClock) -> None:
    limits = FallbackLimits(shared, MemoryLimits(clock), SOON_S)
    shared.away = True
    with capture_logs() as logs:
        assert await admitted(limits)
        await until(lambda: shared.asked.count("probe") > 2)
        assert limits.away
        shared.away = False
        await until(lambda: not limits.away)
    assert [line["event"] for line in logs] == [
        "rate_limits_not_shared",
        "rate_limits_shared_again",
    ]
    assert gauge() == 0
    assert await admitted(limits)
    assert shared.asked[-1] == "key:1"
    await limits.aclose()


async def test_giving_back_does_not_fail_without_it(shared: Shared, limits: FallbackLimits) -> None:
    assert [await admitted(limits) for _ in range(5)] == [True] * 5
    shared.away = True
    await limits.give_back([charge()])
    assert [await admitted(limits) for _ in range(2)] == [True, False]


async def test_a_redis_that_dies_in_the_middle_stops_nobody(
    own_redis: OwnRedis, clock: FakeClock
) -> None:
    await own_redis.start()
    redis = RedisLimits(own_redis.url, clock, timeout_s=BOUND_S)
    limits = FallbackLimits(redis, MemoryLimits(clock), SOON_S)
    with capture_logs() as logs:
        assert [await admitted(limits) for _ in range(2)] == [True, True]
        assert not limits.away
        own_redis.kill()
        assert [await admitted(limits) for _ in range(4)] == [True] * 3 + [False]
        assert gauge() == 1
        await own_redis.start()
        await until(lambda: not limits.away)
    assert [line["event"] for line in logs] == [
        "rate_limits_not_shared",
        "rate_limits_shared_again",
    ]
    assert "127.0.0.1" not in str(logs)
    assert gauge() == 0
    assert await admitted(limits, charge("user:1"))
    assert not limits.away
    await limits.aclose()


async def test_a_redis_that_hangs_holds_nobody_up(own_redis: OwnRedis, clock: FakeClock) -> None:
    await own_redis.start()
    limits = FallbackLimits(RedisLimits(own_redis.url, clock), MemoryLimits(clock), NEVER_S)
    await limits.take([charge("user:1")])
    own_redis.hang()
    async with asyncio.timeout(BOUND_S):
        taken = await asyncio.gather(*(admitted(limits) for _ in range(10)))
    assert taken.count(True) == 5
    assert limits.away
    await limits.aclose()


async def test_after_a_hang_no_answer_is_taken_for_anothers(
    own_redis: OwnRedis, clock: FakeClock
) -> None:
    await own_redis.start()
    redis = RedisLimits(own_redis.url, clock, timeout_s=0.5)
    await redis.take([charge("user:1", 100)])
    own_redis.hang()
    with pytest.raises(LimitsUnavailable):
        await redis.take([charge("user:1", 100)])
    own_redis.go_on()
    limits = FallbackLimits(redis, MemoryLimits(clock), SOON_S)
    limits._fall_back(LimitsUnavailable("as above"))
    await until(lambda: not limits.away)
    for turn in range(1, 4):
        verdict = await redis.take([charge(f"user:{turn}", turn * 10) for turn in (2, 3)])
        assert [count.remaining for count in verdict.counts] == [20 - turn, 30 - turn]
    await limits.aclose()


async def test_nobody_waits_behind_too_many(own_redis: OwnRedis, clock: FakeClock) -> None:
    await own_redis.start()
    redis = RedisLimits(own_redis.url, clock, timeout_s=1)
    await redis.take([charge()])
    own_redis.hang()
    waiting = [asyncio.create_task(redis.take([charge()])) for _ in range(WAITING_MAX + 300)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {str(task.exception()) for task in done} == {"too many wait"}
    await redis.aclose()
    left = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, LimitsUnavailable) for answer in left)


async def test_a_redis_that_takes_no_writes_is_no_redis(
    own_redis: OwnRedis, clock: FakeClock
) -> None:
    from redis.asyncio import Redis

    await own_redis.start()
    client = Redis.from_url(own_redis.url)
    await client.config_set("maxmemory", "1")
    limits = FallbackLimits(
        RedisLimits(own_redis.url, clock, timeout_s=BOUND_S), MemoryLimits(clock), SOON_S
    )
    with capture_logs() as logs:
        assert [await admitted(limits) for _ in range(6)] == [True] * 5 + [False]
        assert limits.away
        await client.config_set("maxmemory", "0")
        await until(lambda: not limits.away)
    assert len(logs) == 2
    await client.aclose()
    await limits.aclose()
