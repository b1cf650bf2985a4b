"""How far a key may go: ranges of addresses and rates, in one spelling and within each other."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.rates import Rate
from services.keys.domain import ApiKey, canonical_range, canonical_rate, class_beyond
from services.keys.domain.key_bounds import field_beyond, no_more_often

UNBOUND = ApiKey()


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_range_has_one_spelling(written: str, canonical: str) -> None:
    assert canonical_range(written) == canonical
    assert canonical_range(canonical) == canonical


@pytest.mark.parametrize(
    "written", ["", "here", "192.0.2", "192.0.2.7/24", "192.0.2.7/-1", "::1%lo", "1.2.3.4 ", "7"]
)
def test_refuses_what_is_no_range(written: str) -> None:
    with pytest.raises(ValueError, match="address"):
        canonical_range(written)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("10/minute", "10/minute"),
        ("010/60seconds", "10/minute"),
        ("5/5minutes", "5/5minutes"),
        ("1/90 seconds", "1/90seconds"),
        ("7/24hours", "7/day"),
    ],
)
def test_a_rate_has_one_spelling(written: str, canonical: str) -> None:
    assert canonical_rate(written) == canonical
    assert canonical_rate(canonical) == canonical


@pytest.mark.parametrize(
    ("asked", "own", "within"),
    [
        ("10/minute", "10/minute", True),
        ("11/minute", "10/minute", False),
        ("1/minute", "60/hour", True),
        ("2/minute", "60/hour", False),
        ("60/hour", "1/minute", False),
        ("1/hour", "1/minute", True),
        ("1/40seconds", "2/minute", True),
        ("1/40seconds", "1/minute", False),
    ],
)
def test_a_rate_is_within_another_whenever_its_window_begins(
    asked: str, own: str, *, within: bool
) -> None:
    assert no_more_often(Rate.read(asked), Rate.read(own)) is within


RATES = st.builds(Rate, amount=st.integers(1, 5), period_s=st.integers(1, 12))


@given(RATES, RATES)
def test_no_burst_that_a_rate_allows_breaks_one_that_it_is_within(asked: Rate, own: Rate) -> None:
    """The worst that `asked` allows: all at once, again as soon as the window has room."""
    times = [at for at in range(0, 40, asked.period_s) for _ in range(asked.amount)]
    most = max(sum(begin <= at < begin + own.period_s for at in times) for begin in times)
    assert no_more_often(asked, own) == (most <= own.amount)


def test_a_class_that_is_not_asked_for_has_the_plans_rate() -> None:
    plan = {"api": Rate(100, 60), "upload": Rate(10, 60)}
    assert class_beyond({}, plan) is None
    assert class_beyond({"upload": "10/minute"}, plan) is None
    assert class_beyond({"api": "1/minute", "upload": "11/minute"}, plan) == "upload"


OWN = replace(UNBOUND, allowed_ips=("10.0.0.0/8", "2001:db8::/32"), rate_limits={"api": "9/minute"})


@pytest.mark.parametrize(
    ("allowed_ips", "within"),
    [
        (("10.1.2.3",), True),
        (("10.0.0.0/8",), True),
        (("10.1.0.0/16", "2001:db8::7"), True),
        (("10.1.0.0/16", "11.0.0.0/16"), False),
        (("0.0.0.0/0",), False),
        (("::/0",), False),
        ((), False),
    ],
)
def test_each_range_of_a_key_is_inside_one_of_its_creators(
    allowed_ips: tuple[str, ...], *, within: bool
) -> None:
    asked = replace(OWN, allowed_ips=allowed_ips)
    assert field_beyond(asked, OWN) == (None if within else "allowed_ips")


@pytest.mark.parametrize(
    ("rate_limits", "beyond"),
    [
        ({"api": "9/minute"}, None),
        ({"api": "8/minute", "upload": "1/minute"}, None),
        ({"api": "10/minute"}, "rate_limits.api"),
        ({"upload": "1/minute"}, "rate_limits.api"),
        ({}, "rate_limits.api"),
    ],
)
def test_a_key_with_a_rate_creates_none_without(
    rate_limits: dict[str, str], beyond: str | None
) -> None:
    assert field_beyond(replace(OWN, rate_limits=rate_limits), OWN) == beyond


NETWORKS = st.builds(
    lambda bits, length: str(ip_network((bits << 28, length), strict=False)),
    st.integers(0, 15),
    st.integers(0, 6),
)


@given(st.lists(NETWORKS, min_size=1, max_size=3), st.lists(NETWORKS, min_size=1, max_size=3))
def test_no_address_gets_in_by_a_key_that_its_creator_would_keep_out(
    asked: list[str], own: list[str]
) -> None:
    beyond = field_beyond(
        replace(UNBOUND, allowed_ips=tuple(asked)), replace(UNBOUND, allowed_ips=tuple(own))
    )
    outside = [
        address
        for address in (ip_address(n << 26) for n in range(64))
        if lets_in(asked, address) and not lets_in(own, address)
    ]
    if beyond is None:
        assert outside == []
    else:
        assert outside or _only_together(asked, own)


def lets_in(ranges: list[str], address: object) -> bool:
    assert isinstance(address, IPv4Address)
    return any(address in ip_network(text) for text in ranges)


def _only_together(asked: list[str], own: list[str]) -> bool:
    """A range that lies in several of the creator's, but in none of them alone, is refused too."""
    return any(
        isinstance(network := ip_network(text), IPv4Network)
        and not any(network.subnet_of(IPv4Network(one)) for one in own)
        for text in asked
    )
