"""How far a key may go, and whether another would go further; it must not know why it is asked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Protocol

from kernel.rates import Rate

Network = IPv4Network | IPv6Network

_UNITS_S: Final = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 writes them (RFC 4291, 2.5.5.2)."""


class Bounded(Protocol):
    """What a key has, or what one is asked for: None, an empty list and an absent class each say
    that it has no bound of its own there."""

    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def monthly_credit_limit_units(self) -> int | None: ...
    @property
    def allowed_ips(self) -> Sequence[str]: ...
    @property
    def rate_limits(self) -> Mapping[str, str]: ...


def field_beyond(asked: Bounded, own: Bounded) -> str | None:
    """The first field of the request in which `asked` goes beyond `own`; None if it never does."""
    if not set(asked.scopes) <= set(own.scopes):
        return "scopes"
    if _exceeds(asked.expires_at, own.expires_at):
        return "expires_in_days"
    # Whatever limit it had, the new key would have a month of its own beside its maker's.
    if own.monthly_credit_limit_units is not None:
        return "monthly_credit_limit"
    if not _within_ranges(asked.allowed_ips, own.allowed_ips):
        return "allowed_ips"
    own_rates = {name: Rate.read(text) for name, text in own.rate_limits.items()}
    name = class_beyond(asked.rate_limits, own_rates, absent_is_beyond=True)
    return None if name is None else f"rate_limits.{name}"


def class_beyond(
    asked: Mapping[str, str], own: Mapping[str, Rate], *, absent_is_beyond: bool = False
) -> str | None:
    """The first class of `own` for which `asked` has a rate that allows more."""
    for name, rate in own.items():
        text = asked.get(name)
        if absent_is_beyond if text is None else not no_more_often(Rate.read(text), rate):
            return name
    return None


def no_more_often(asked: Rate, own: Rate) -> bool:
    """Whether who keeps to `asked` can't help keeping to `own`, whenever its window begins.

    A window of `own` holds that many windows of `asked`, the last of them begun: 60 an hour may
    come in one minute, so they are not within 1 a minute, but 1 a minute is within 60 an hour.
    """
    windows = -(-own.period_s // asked.period_s)
    return asked.amount * windows <= own.amount


def canonical_rate(text: str) -> str:
    """`5/60seconds` as `5/minute`: one spelling for each rate. Raises ValueError."""
    rate = Rate.read(text)
    for unit, unit_s in _UNITS_S.items():
        times, rest = divmod(rate.period_s, unit_s)
        if rest == 0:
            return f"{rate.amount}/{unit}" if times == 1 else f"{rate.amount}/{times}{unit}s"
    raise AssertionError("a second divides every period")


def canonical_range(text: str) -> str:
    """An address, or a range of them, in its one spelling; IPv4 as IPv4. Raises ValueError.

    A range with bits below its mask is refused: whoever writes 10.0.0.7/8 may mean one address.
    """
    if "%" in text:
        raise ValueError("an address with a zone means something on one machine alone")
    try:
        network = _without_mapping(ip_network(text))
    except ValueError:
        raise ValueError("neither an IP address nor a CIDR range") from None
    alone = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if alone else str(network)


def _without_mapping(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        assert mapped is not None, "it is in the range of those"
        return IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen))
    return network


def _within_ranges(asked: Sequence[str], own: Sequence[str]) -> bool:
    if not own:
        return True
    ranges = [ip_network(text) for text in own]
    return bool(asked) and all(
        any(_within(ip_network(text), allowed) for allowed in ranges) for text in asked
    )


def _within(asked: Network, own: Network) -> bool:
    return (
        asked.version == own.version
        and int(own.network_address) <= int(asked.network_address)
        and int(asked.broadcast_address) <= int(own.broadcast_address)
    )


def _exceeds(asked: datetime | None, own: datetime | None) -> bool:
    """Whether `asked` lies beyond `own`; None is beyond everything."""
    if own is None:
        return False
    return asked is None or asked > own
