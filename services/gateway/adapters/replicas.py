"""Which replica of a service is asked next; knows addresses and times, no connection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from yarl import URL

from kernel.base_urls import origin_of

AWAY_FOR_S: Final = 1.0
"""How long a replica that took no connection is asked last."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One address of a service; `scheme` is http or https."""

    scheme: str
    authority: str

    def url(self, raw_path: str, query: str) -> URL:
        """As it was authorised, byte for byte: nothing is quoted or tidied again."""
        return URL.build(
            scheme=self.scheme,
            authority=self.authority,
            path=raw_path,
            query_string=query,
            encoded=True,
        )


class Replicas:
    """Round robin. One that is away comes after all others, so that a lone one is still tried.

    Times are seconds of any one steady clock.
    """

    def __init__(self, base_urls: Sequence[str], away_for_s: float = AWAY_FOR_S) -> None:
        """Raises ValueError for no URL, or one that is more than `http(s)://host:port`."""
        if not base_urls:
            raise ValueError("a service needs an address")
        self._replicas = [_replica_of(base_url) for base_url in base_urls]
        self._away_for_s = away_for_s
        self._away_until_s: dict[Replica, float] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._replicas)

    def in_turn(self, now_s: float) -> list[Replica]:
        """Every replica once, in the order in which to try them."""
        first, count = self._next, len(self._replicas)
        self._next = (first + 1) % count
        turn = self._replicas[first:] + self._replicas[:first]
        if not self._away_until_s:
            return turn
        return sorted(turn, key=lambda replica: self._away_until_s.get(replica, 0.0) > now_s)

    def away(self, replica: Replica, now_s: float) -> None:
        """It took no connection."""
        self._away_until_s[replica] = now_s + self._away_for_s

    def back(self, replica: Replica) -> None:
        """It took one."""
        if self._away_until_s:
            self._away_until_s.pop(replica, None)


def _replica_of(base_url: str) -> Replica:
    scheme, _, authority = origin_of(base_url).partition("://")
    return Replica(scheme, authority)
