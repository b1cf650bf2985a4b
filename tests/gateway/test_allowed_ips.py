"""Keys that are good from some addresses alone; an address is what trusted proxies say of it."""

import pytest

from tests.gateway.driving import World, api_key, bearer, gateway_settings
from tests.gateway.test_limiting import TASKS, numbers

PEER = "203.0.113.9"


@pytest.mark.parametrize(
    ("ranges", "status"),
    [
        ([], 200),
        ([PEER], 200),
        (["203.0.113.0/24"], 200),
        (["::ffff:203.0.113.0/120"], 200),
        (["192.0.2.0/24", "203.0.113.8/29"], 200),
        (["0.0.0.0/0"], 200),
        (["203.0.113.8"], 403),
        (["192.0.2.0/24", "2001:db8::/32"], 403),
        (["::/0"], 403),
    ],
    ids=str,
)
async def test_a_key_is_good_from_its_ranges_alone(
    world: World, ranges: list[str], status: int
) -> None:
    answer = await world.ask("GET", TASKS, [api_key(world.key(allowed_ips=ranges))])
    assert answer.status == status
    assert len(world.generation.scopes) == (status == 200)


async def test_the_refusal_says_why_and_nothing_else(world: World) -> None:
    for form in (api_key, bearer):
        answer = await world.ask("GET", TASKS, [form(world.key(allowed_ips=["192.0.2.1"]))])
        assert (answer.status, answer.code) == (403, "address_not_allowed")
        assert answer.json["details"] == {}
        assert PEER.encode() not in answer.body


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.7", 200),
        ("::ffff:192.0.2.7", 200),
        ("198.51.100.1, 192.0.2.7", 200),
        ("192.0.2.7, 198.51.100.1", 403),
        ("198.51.100.1", 403),
        ("garbage", 403),
    ],
)
async def test_behind_a_trusted_proxy_the_address_is_what_it_says(
    forwarded: str, status: int
) -> None:
    world = World(gateway_settings(TRUSTED_PROXIES=PEER))
    key = api_key(world.key(allowed_ips=["192.0.2.0/24"]))
    answer = await world.ask("GET", TASKS, [key, ("X-Forwarded-For", forwarded)])
    assert answer.status == status


async def test_nobody_comes_nearer_by_a_header_of_their_own(world: World) -> None:
    key = api_key(world.key(allowed_ips=["192.0.2.0/24"]))
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-Address"):
        answer = await world.ask("GET", TASKS, [key, (name, "192.0.2.7")])
        assert answer.status == 403, name


async def test_who_asks_from_elsewhere_uses_up_nothing_of_the_key() -> None:
    settings = {"RATE_LIMITS": "api=2/minute,anonymous=1/minute", "TRUSTED_PROXIES": PEER}
    world = World(gateway_settings(**settings))
    key = api_key(world.key(allowed_ips=["192.0.2.0/24"]))
    stolen = [("X-Forwarded-For", "198.51.100.1"), key]
    statuses = [(await world.ask("GET", TASKS, stolen)).status for _ in range(3)]
    assert statuses == [403, 429, 429]
    own = await world.ask("GET", TASKS, [("X-Forwarded-For", "192.0.2.7"), key])
    assert (own.status, numbers(own)) == (200, (2, 1))


async def test_sessions_are_good_from_anywhere(world: World) -> None:
    assert (await world.ask("GET", TASKS, [bearer(world.token())])).status == 200
