from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from services.gateway.adapters.client_address import (
    FORWARDED_BYTES_MAX,
    HOPS_MAX,
    client_address,
    counted_range,
    is_within,
    network_of,
)
from services.gateway.adapters.request_headers import RequestHeaders
from tests.gateway.driving import World, bearer, gateway_settings, http_scope

PEER = "203.0.113.9"
TRUSTED = [ip_network("203.0.113.0/24"), ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


def address(*forwarded: str, peer: Any = (PEER, 1234), trusted: Sequence[Any] = TRUSTED) -> str:
    headers = RequestHeaders([(b"x-forwarded-for", value.encode()) for value in forwarded])
    return client_address({"client": peer}, headers, trusted)


@pytest.mark.parametrize("trusted", [[], [ip_network("10.0.0.0/8")]])
def test_nobody_is_believed_but_who_is_trusted(trusted: list[Any]) -> None:
    assert address("198.51.100.1", trusted=trusted) == PEER


def test_a_trusted_peer_without_a_word_is_the_client_itself() -> None:
    assert address() == PEER
    assert address("") == PEER


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        (["6.6.6.6", "198.51.100.1", "10.1.2.3"], "198.51.100.1"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["garbage, 198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["2001:DB8:0::7"], "2001:db8::7"),
        (["2001:db8::7, 2001:db8:1::1"], "2001:db8::7"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["fe80::1%eth0"], "fe80::1"),
    ],
)
def test_the_client_is_the_rightmost_that_no_trusted_proxy_is(
    forwarded: list[str], client: str
) -> None:
    assert address(*forwarded) == client


@pytest.mark.parametrize(
    "forwarded",
    [
        "garbage",
        "198.51.100.1, garbage",
        "198.51.100.1, unknown, 10.1.2.3",
        "198.51.100.1,",
        "198.51.100.256",
        "0x7f.1",
        "198.51.100.1\x00",
        "1" * 65,
        "198.51.100.1," * HOPS_MAX + "10.0.0.1",
        "198.51.100.1" + " " * FORWARDED_BYTES_MAX,
    ],
)
def test_garbage_and_endless_chains_are_not_believed(forwarded: str) -> None:
    assert address(forwarded) == PEER


def test_an_ipv4_peer_on_an_ipv6_socket_is_the_same_client() -> None:
    assert address(peer=("::ffff:203.0.113.9", 1), trusted=[]) == PEER
    assert address("198.51.100.1", peer=("::ffff:203.0.113.9", 1)) == "198.51.100.1"


@pytest.mark.parametrize("peer", [None, ("", 0), ("testclient", 1)])
def test_a_peer_without_an_address_has_none(peer: Any) -> None:
    assert address("198.51.100.1", peer=peer) == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("198.51.100.1", "198.51.100.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("", "", True),
    ],
)
def test_a_limit_counts_an_ipv6_client_by_its_network(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert (counted_range(one) == counted_range(other)) is same


async def test_services_are_told_the_address_and_the_agent_and_no_client_can_tell_them() -> None:
    world = World(gateway_settings(TRUSTED_PROXIES="203.0.113.9"))
    forged = [("x-client-address", "6.6.6.6"), ("x-client-agent", "forged")]
    headers = [("X-Forwarded-For", "198.51.100.1"), ("User-Agent", "curl/8 é\t" + "x" * 300)]
    await world.ask("GET", "/auth/me", [*forged, *headers, bearer(world.token())])
    seen = world.keys.headers_seen
    assert seen["x-client-address"] == "198.51.100.1"
    assert seen["x-client-agent"] == ("curl/8 ??" + "x" * 300)[:200]
    for scope in world.keys.scopes:
        names = [name for name, _ in scope["headers"]]
        assert names.count(b"x-client-address") == names.count(b"x-client-agent") == 1


async def test_a_client_without_an_agent_or_with_two_has_none(world: World) -> None:
    await world.ask("POST", "/auth/login")
    await world.ask("POST", "/auth/login", [("User-Agent", "one"), ("User-Agent", "two")])
    for scope in world.keys.scopes:
        assert b"x-client-agent" not in dict(scope["headers"])


def test_driving_asks_from_the_address_that_these_tests_trust() -> None:
    assert http_scope("GET", "/")["client"][0] == PEER


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_ipv4_written_as_ipv6_is_ipv4(written: str, network: str) -> None:
    assert str(network_of(written)) == network


@pytest.mark.parametrize("written", ["", "somewhere", "10.0.0.1/8", "10.0.0.0/33", "::1/129"])
def test_what_is_no_network_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        network_of(written)


def test_who_came_through_no_ip_connection_is_within_nothing() -> None:
    assert not is_within("", [network_of("0.0.0.0/0"), network_of("::/0")])
