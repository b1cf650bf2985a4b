"""Counts a request before its service sees it, and says in headers how the caller stands.

`X-RateLimit-Limit`, `-Remaining` and `-Reset` (Unix time in whole seconds, as GitHub has it), and
`RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers (`t`: seconds from now).
Reset is when the oldest request leaves the moving window: one more is possible then, not all.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from kernel.clock import Clock
from kernel.errors import RateLimited
from kernel.http.identity import Identity
from kernel.rates import Rate, RateClass
from services.gateway.adapters.client_address import counted_range
from services.gateway.adapters.limits import Charge, Count, Limits
from services.gateway.adapters.request_headers import Header
from services.gateway.domain import RATES, counted_for


class Counted(NamedTuple):
    """`headers` are for the answer, whatever it is; `refusal` is to be raised when there is one."""

    headers: tuple[Header, ...]
    refusal: RateLimited | None


NO_RATES: Final[Mapping[RateClass, Rate]] = {}
NOT_COUNTED: Final = Counted((), None)


class Limiting:
    """By `rates`, and the standard ones for classes that are not in it."""

    def __init__(self, limits: Limits, rates: Mapping[RateClass, Rate], clock: Clock) -> None:
        self._limits = limits
        self._rates = {**RATES, **rates}
        self._clock = clock

    async def count(
        self, rate_class: RateClass | None, identity: Identity | None, address: str
    ) -> Counted:
        """A request of `identity`, or of somebody at `address` who is not known."""
        if rate_class is None:
            return NOT_COUNTED
        verdict = await self._limits.take(self._charges(rate_class, identity, address))
        now_s = self._clock.now().timestamp()
        headers = _headers(verdict.counts, now_s)
        refused = verdict.refused
        return Counted(headers, None if refused is None else _refusal(refused, now_s))

    def _charges(
        self, rate_class: RateClass, identity: Identity | None, address: str
    ) -> list[Charge]:
        key, user, own = None, None, NO_RATES
        if identity is not None:
            key, user, own = identity.key_id, identity.user_id, dict(identity.rate_limits)
        counted_class, subjects = counted_for(rate_class, key, user, counted_range(address))
        rate = own.get(counted_class) or self._rates[counted_class]
        return [Charge(counted_class, subject, rate) for subject in subjects]


def _headers(counts: Sequence[Count], now_s: float) -> tuple[Header, ...]:
    """The one with the least room stands for all: it is the next to refuse."""
    charge, remaining, resets_at_s = min(counts, key=_room) if len(counts) > 1 else counts[0]
    name, limit, policy = _words(charge.rate_class, charge.rate)
    resets_in_s = max(0, math.ceil(resets_at_s - now_s))
    return (
        (b"x-ratelimit-limit", limit),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % math.ceil(resets_at_s)),
        (b"ratelimit-policy", policy),
        (b"ratelimit", b"%s;r=%d;t=%d" % (name, remaining, resets_in_s)),
    )


@lru_cache(1_024)
def _words(rate_class: RateClass, rate: Rate) -> tuple[bytes, bytes, bytes]:
    """What is always the same: the name of the policy, its amount, the policy."""
    name = b'"%s"' % rate_class.value.encode("ascii")
    return name, b"%d" % rate.amount, b"%s;q=%d;w=%d" % (name, rate.amount, rate.period_s)


def _room(count: Count) -> tuple[int, float]:
    return count.remaining, -count.resets_at_s


def _refusal(refused: Count, now_s: float) -> RateLimited:
    """A moment later than the oldest request leaves: at that moment it still counts."""
    rate_class, _, rate = refused.charge
    retry_after_s = max(0, math.floor(refused.resets_at_s - now_s)) + 1
    return RateLimited(
        "rate_limited",
        f"At most {rate}; ask again in {retry_after_s} s.",
        {"class": rate_class.value, "limit": rate.amount, "period_s": rate.period_s},
        retry_after_s=retry_after_s,
    )
