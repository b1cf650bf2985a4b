"""From which address a request comes: the peer's, or what proxies that we trust say of theirs.

`X-Forwarded-For` is believed from right to left, as far as each who wrote a part of it is trusted;
a client can write what it likes at the left.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

from services.gateway.adapters.request_headers import RequestHeaders

FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_BYTES_MAX: Final = 1_000
HOPS_MAX: Final = 20
_ADDRESS_LENGTH_MAX: Final = 64
_V6_SITE_BITS: Final = 64
"""What one IPv6 customer is given at least, so that it has one budget (RFC 6177)."""
_V4_MAPPED_BITS: Final = 96
_REMEMBERED: Final = 8_192

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address


def client_address(scope: Scope, headers: RequestHeaders, trusted: Sequence[Network] = ()) -> str:
    """The client's numeric address, IPv4 as IPv4; "" when it came through no IP connection.

    A chain that is too long or holds garbage is not believed at all: the peer's address then.
    """
    client = scope.get("client")
    peer = _address(client[0]) if client else None
    if peer is None:
        return ""
    if not trusted or not _is_one_of(peer, trusted):
        return _text(peer)
    return _text(_first_untrusted(headers.all(FORWARDED_FOR), trusted) or peer)


@lru_cache(_REMEMBERED)
def counted_range(address: str) -> str:
    """Whom a limit counts an address for: an IPv4 address, the /64 of an IPv6 one."""
    parsed = _address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _V6_SITE_BITS), strict=False))
    return address


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether a client's address, as `client_address` tells it, is in one of `networks`; "" is in
    none."""
    parsed = _address(address)
    return parsed is not None and _is_one_of(parsed, networks)


def network_of(text: str) -> Network:
    """The network that `text` writes, of IPv4 where it is written as IPv4 in IPv6 (RFC 4291,
    2.5.5.2). Raises ValueError for what is none, or has bits beyond its mask."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= _V4_MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _V4_MAPPED_BITS))
    return network


def _first_untrusted(values: Sequence[bytes], trusted: Sequence[Network]) -> _Address | None:
    """From the right; the left-most when all are trusted."""
    joined = b",".join(values)
    if not joined or len(joined) > FORWARDED_BYTES_MAX:
        return None
    hops = joined.decode("latin-1").split(",")
    if len(hops) > HOPS_MAX:
        return None
    address = None
    for hop in reversed(hops):
        address = _address(_without_port(hop.strip()))
        if address is None or not _is_one_of(address, trusted):
            break
    return address


def _without_port(hop: str) -> str:
    """Some proxies tell the port as well: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


@lru_cache(_REMEMBERED)
def _address(text: str) -> _Address | None:
    """IPv6 without its zone, which means nothing elsewhere; None for what is no address."""
    if len(text) > _ADDRESS_LENGTH_MAX:
        return None
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        return parsed.ipv4_mapped or IPv6Address(int(parsed))
    return parsed


@lru_cache(_REMEMBERED)
def _text(address: _Address) -> str:
    return str(address)


def _is_one_of(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
