"""Incident: limits that count each header form, each secret of a key or each gateway by itself."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from redis.asyncio import Redis

from kernel.clock import new_id
from kernel.http.api_key_format import key_sha256
from kernel.rates import Rate, RateClass
from services.gateway.adapters.fallback_limits import FallbackLimits
from services.gateway.adapters.memory_limits import MemoryLimits
from services.gateway.adapters.redis_limits import RedisLimits
from services.gateway.api.edge import Edge
from services.gateway.api.limiting import Limiting
from services.gateway.api.routes import ROUTES
from tests.gateway.driving import Answer, World, api_key, ask, bearer, gateway_settings
from tests.redis_server import OwnRedis

TASKS = "/api/v2/generation/tasks"
GENERATE = "/api/v2/generation/generate"
LOGIN = "/auth/login"
Form = Callable[[str], tuple[str, str]]
both_forms = pytest.mark.parametrize("form", [api_key, bearer])


def limited(rates: str, **settings: str) -> World:
    return World(gateway_settings(RATE_LIMITS=rates, **settings))


def numbers(answer: Answer) -> tuple[int, int]:
    return int(answer.one("x-ratelimit-limit")), int(answer.one("x-ratelimit-remaining"))


@both_forms
async def test_every_answer_says_how_its_caller_stands(form: Form) -> None:
    world = limited("api=3/minute")
    key, began_s = world.key(), world.clock.now().timestamp()
    answers = []
    for _ in range(4):
        answers.append(await world.ask("GET", TASKS, [form(key)]))
        world.clock.turn(timedelta(seconds=10))
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [numbers(answer) for answer in answers] == [(3, 2), (3, 1), (3, 0), (3, 0)]
    assert {answer.one("ratelimit-policy") for answer in answers} == {'"api";q=3;w=60'}
    told = [re.fullmatch(r'"api";r=(\d);t=(\d+)', answer.one("ratelimit")) for answer in answers]
    assert [tuple(map(int, found.groups())) for found in told if found] == [
        (2, 60),
        (1, 50),
        (0, 40),
        (0, 30),
    ]
    for answer in answers:
        assert 0 <= int(answer.one("x-ratelimit-reset")) - (began_s + 60) < 1


async def test_a_refusal_says_when_to_ask_again_and_keeps_its_word() -> None:
    world = limited("api=1/minute")
    signed_in = bearer(world.token())
    await world.ask("GET", TASKS, [signed_in])
    world.clock.turn(timedelta(seconds=20))
    refused = await world.ask("GET", TASKS, [signed_in])
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.json["details"] == {"class": "api", "limit": 1, "period_s": 60}
    wait_s = int(refused.one("retry-after"))
    assert wait_s >= int(refused.one("ratelimit").rpartition("=")[2])
    assert len(world.generation.scopes) == 1
    world.clock.turn(timedelta(seconds=wait_s))
    assert (await world.ask("GET", TASKS, [signed_in])).status == 200


async def test_each_surface_refuses_in_its_own_form() -> None:
    world = limited("auth=1/minute")
    assert numbers(await world.ask("POST", LOGIN)) == (1, 0)
    refused = await world.ask("POST", LOGIN)
    assert refused.status == 429
    assert refused.json["success"] is False
    assert refused.json["error"]["code"] == "HTTP_429"
    assert refused.one("retry-after") == "61"
    assert numbers(refused) == (1, 0)


async def test_errors_are_counted_and_say_so() -> None:
    world = limited("api=100/minute")
    world.generation.status, world.generation.body = 404, b"{}"
    key = world.key(scopes=["generation:read"])
    missing = await world.ask("GET", f"{TASKS}/1", [api_key(key)])
    assert (missing.status, numbers(missing)) == (404, (100, 99))
    world.generation.act = _breaks
    assert numbers(await world.ask("GET", TASKS, [api_key(key)])) == (100, 98)
    forbidden = await world.ask("DELETE", f"{TASKS}/1", [api_key(key)])
    assert (forbidden.status, numbers(forbidden)) == (403, (100, 97))


async def _breaks(*_: object) -> None:
    raise RuntimeError("broken")


async def test_both_header_forms_are_one_budget() -> None:
    world = limited("api=2/minute")
    key = world.key()
    answers = [await world.ask("GET", TASKS, [form(key)]) for form in (api_key, bearer, api_key)]
    assert [answer.status for answer in answers] == [200, 200, 429]


async def test_all_secrets_of_a_key_are_one_budget() -> None:
    world = limited("api=2/minute")
    key_id = str(new_id())
    secrets = [world.key(key_id=key_id) for _ in range(3)]
    assert len({key_sha256(secret) for secret in secrets}) == 3
    answers = [await world.ask("GET", TASKS, [api_key(secret)]) for secret in secrets]
    assert [answer.status for answer in answers] == [200, 200, 429]


async def test_keys_that_begin_alike_have_budgets_of_their_own() -> None:
    world = limited("api=1/minute")
    first, second = (world.key(bytes(31) + bytes([last])) for last in (1, 2))
    assert first[:40] == second[:40]
    statuses = [
        (await world.ask("GET", TASKS, [api_key(key)])).status
        for key in (first, first, second, second)
    ]
    assert statuses == [200, 429, 200, 429]


async def test_keys_and_users_have_budgets_of_their_own() -> None:
    world = limited("api=1/minute")
    user_id = new_id()
    callers = [
        api_key(world.key(user_id=str(user_id))),
        api_key(world.key(user_id=str(user_id))),
        bearer(world.token(user_id=user_id)),
        bearer(world.token()),
    ]
    for status in (200, 429):
        answers = [await world.ask("GET", TASKS, [caller]) for caller in callers]
        assert {answer.status for answer in answers} == {status}
    again = await world.ask("GET", TASKS, [bearer(world.token(user_id=user_id))])
    assert again.status == 429  # another token is the same person


async def test_classes_have_budgets_of_their_own() -> None:
    world = limited("api=1/minute,generation=1/minute")
    key = api_key(world.key())
    answers = [await world.ask(*route, [key]) for route in (("GET", TASKS), ("POST", GENERATE)) * 2]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert [answer.one("ratelimit-policy").partition(";")[0] for answer in answers] == [
        '"api"',
        '"generation"',
    ] * 2


@both_forms
async def test_a_key_may_have_rates_of_its_own(form: Form) -> None:
    world = limited("api=5/minute,generation=5/minute")
    key = world.key(rate_limits={"api": "1/hour", "generation": "none", "unknown": "1/hour"})
    assert numbers(await world.ask("GET", TASKS, [form(key)])) == (1, 0)
    refused = await world.ask("GET", TASKS, [form(key)])
    assert (refused.status, refused.one("ratelimit-policy")) == (429, '"api";q=1;w=3600')
    assert numbers(await world.ask("POST", GENERATE, [form(key)])) == (5, 4)


@both_forms
async def test_bad_credentials_are_counted_for_the_address(form: Form) -> None:
    world = limited("anonymous=3/minute")
    answers = [await world.ask("GET", TASKS, [form(World().key())]) for _ in range(5)]
    assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
    assert answers[-1].json["details"]["class"] == "anonymous"
    assert (await world.ask("GET", TASKS)).status == 429
    assert (await world.ask("GET", TASKS, [form(world.key())])).status == 200


async def test_addresses_have_budgets_of_their_own_and_no_client_makes_up_its_own() -> None:
    for settings, statuses in (
        ({}, [200, 429, 429]),
        ({"TRUSTED_PROXIES": "203.0.113.9"}, [200, 200, 429]),
    ):
        world = limited("auth=1/minute", **settings)
        answers = [
            await world.ask("POST", LOGIN, [("X-Forwarded-For", forwarded)])
            for forwarded in ("198.51.100.1", "198.51.100.2", "6.6.6.6, 198.51.100.1")
        ]
        assert [answer.status for answer in answers] == statuses


async def test_life_and_readiness_are_never_refused_and_pages_rarely() -> None:
    world = limited("page=1/minute,anonymous=1/minute,api=1/minute")
    for _ in range(3):
        for path in ("/livez", "/readyz"):
            answer = await world.ask("GET", path)
            assert (answer.status, answer.all("ratelimit")) == (200, [])
    assert [(await world.ask("GET", "/docs")).status for _ in range(2)] == [200, 429]


async def test_signed_links_are_counted_as_downloads_of_the_address() -> None:
    world = limited("download=2/minute,anonymous=1/minute")
    answers = [await world.ask(method, "/media/x.png") for method in ("GET", "HEAD", "GET")]
    assert [answer.status for answer in answers] == [200, 200, 429]


async def test_puts_by_signed_links_are_counted_as_uploads_of_the_address() -> None:
    world = limited("upload=1/minute,anonymous=1/minute")
    answers = [await world.ask("PUT", "/media/x.png") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]


def test_each_route_says_its_class() -> None:
    classes = {(route.method, route.path): route.limit for route in ROUTES}
    assert classes["POST", GENERATE] is RateClass.GENERATION
    assert classes["POST", "/auth/register"] is RateClass.AUTH
    assert classes["POST", "/api/v2/storage/upload"] is RateClass.UPLOAD
    assert classes["POST", "/api/v2/storage/verify"] is RateClass.ANONYMOUS
    assert classes["GET", "/api/v2/storage/files/{key:path}"] is RateClass.DOWNLOAD
    assert {path for (_, path), limit in classes.items() if limit is None} == {
        *("/livez", "/readyz"),
        "/api/v2/generation/callbacks/{provider}/{token}",
    }


async def test_a_spec_is_counted_for_its_user_and_for_the_address() -> None:
    world = World()
    limits = MemoryLimits(world.clock)
    limiting = Limiting(limits, {RateClass.SPECGEN: Rate(2, 60)}, world.clock)
    world.generation.body = b"{}"
    seen = []
    for _ in range(3):
        await world.ask("GET", TASKS, [api_key(world.key())])
        seen.append(world.caller(world.generation))
    first, second, third = seen

    async def status(identity: object, address: str) -> bool:
        counted = await limiting.count(RateClass.SPECGEN, identity, address)  # type: ignore[arg-type]
        return counted.refusal is None

    assert [await status(first, "192.0.2.1") for _ in range(3)] == [True, True, False]
    assert not await status(second, "192.0.2.1")  # by its address
    assert not await status(first, "192.0.2.2")  # by its user
    # What was refused by one of both has cost the other nothing.
    assert [await status(third, "192.0.2.2") for _ in range(3)] == [True, True, False]


@asynccontextmanager
async def two_gateways(url: str, prefix: str, rates: str) -> AsyncIterator[tuple[World, Edge]]:
    """Of one keys service and one Redis; the second as a process of its own would be."""
    world = limited(rates)
    edges = []
    for _ in range(2):
        redis = RedisLimits(url, world.clock, prefix=prefix, timeout_s=10)
        limits = FallbackLimits(redis, MemoryLimits(world.clock))
        rates_read = gateway_settings(RATE_LIMITS=rates).rate_limits
        assert isinstance(world.app, Edge)
        edges.append(
            (replace(world.app, limiting=Limiting(limits, rates_read, world.clock)), limits)
        )
    (first, one), (second, other) = edges
    world.app = first
    yield world, second
    assert not one.away
    assert not other.away
    await one.aclose()
    await other.aclose()


@both_forms
async def test_two_gateways_admit_exactly_the_rate_between_them(
    redis_url: str, redis_prefix: str, form: Form
) -> None:
    async with two_gateways(redis_url, redis_prefix, "api=20/minute") as (world, second):
        caller = form(world.key())
        answers = await asyncio.gather(
            *(ask(app, "GET", TASKS, [caller]) for app in (world.app, second) * 30)
        )
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 40)
    assert len(world.generation.scopes) == 20
    assert {numbers(answer)[0] for answer in answers} == {20}


async def test_two_gateways_give_a_caller_one_budget_one_after_the_other(
    redis_url: str, redis_prefix: str
) -> None:
    async with two_gateways(redis_url, redis_prefix, "api=3/minute") as (world, second):
        caller = api_key(world.key())
        for _ in range(2):
            told = [numbers(await ask(app, "GET", TASKS, [caller])) for app in (world.app, second)]
            world.clock.turn(timedelta(seconds=61))
            assert told == [(3, 2), (3, 1)]


async def test_without_redis_limits_go_on_and_nothing_is_an_error() -> None:
    world = limited("api=2/minute")
    redis = RedisLimits("redis://127.0.0.1:1/0", world.clock)
    limits = FallbackLimits(redis, MemoryLimits(world.clock))
    assert isinstance(world.app, Edge)
    limiting = Limiting(
        limits, gateway_settings(RATE_LIMITS="api=2/minute").rate_limits, world.clock
    )
    world.app = replace(world.app, limiting=limiting)
    caller = api_key(world.key())
    answers = [await world.ask("GET", TASKS, [caller]) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert limits.away
    await limits.aclose()


async def test_a_gateway_with_a_redis_shares_through_it_and_closes_it(own_redis: OwnRedis) -> None:
    await own_redis.start()
    world = limited("api=100/minute", REDIS_URL=own_redis.url, SMARTSPEC_QUEUE_PREFIX="mine.")
    caller = world.key()
    shared = f"mine.smartspec:limits:api:key:{UUID(world.facts(caller)['key_id']).hex}"
    async with Redis.from_url(own_redis.url) as redis, asyncio.timeout(20):
        while not await redis.exists(shared):  # a busy machine may be too slow at first
            assert (await world.ask("GET", TASKS, [api_key(caller)])).status == 200
        await world.service.stop()
        while len(await redis.client_list()) > 1:  # noqa: ASYNC110 - Redis tells nobody of it
            await asyncio.sleep(0.01)
