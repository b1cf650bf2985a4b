"""Slows guessing down: wrong passwords, counted for each account and client address together.

An attempt is counted before its password is looked at and forgiven when it was right, so that many
at once get no more tries than one after the other. The account is told apart by the keyed hash of
its address, so one that nobody has is counted like any other.
"""

import hashlib
import math
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from kernel.errors import RateLimited
from kernel.event_store import EventStore
from kernel.unit import Unit

FAILURES_MAX: Final = 10
"""Within `COUNTED_FOR`; from then on each one blocks, twice as long as the one before."""
COUNTED_FOR: Final = timedelta(minutes=15)
FIRST_BLOCK: Final = timedelta(seconds=30)
BLOCK_MAX: Final = timedelta(minutes=15)
SUBJECTS_MAX: Final = 1_000_000
"""Beyond it those that would be forgotten first are forgotten at once."""
_DOUBLINGS_MAX: Final = 5  # 2**5 * FIRST_BLOCK is above BLOCK_MAX
_IPV6_SITE_BITS: Final = 64

_COUNT: Final = f"""
    INSERT INTO keys.guesses AS known (subject, failures, blocked_until, expires_at)
        VALUES ($1, 1, NULL, $2::timestamptz + $3::interval)
    ON CONFLICT (subject) DO UPDATE SET (failures, blocked_until, expires_at) = (
        SELECT failures,
            CASE WHEN failures >= {FAILURES_MAX} THEN $2 + block END,
            CASE WHEN failures >= {FAILURES_MAX} THEN $2 + block + $3
                WHEN failures = 1 THEN $2 + $3
                ELSE known.expires_at END
        FROM (SELECT CASE WHEN known.expires_at <= $2 THEN 1 ELSE known.failures + 1 END)
                AS counted (failures),
            LATERAL (SELECT least($5::interval, $4::interval * power(
                2, greatest(0, least({_DOUBLINGS_MAX}, failures - {FAILURES_MAX})))))
                AS blocking (block))
    WHERE known.blocked_until IS NULL OR known.blocked_until <= $2
    RETURNING failures"""


class Guesses:
    """The records `keys.guesses`."""

    def __init__(self, store: EventStore, subjects_max: int = SUBJECTS_MAX) -> None:
        self._store = store
        self._subjects_max = subjects_max

    async def count(self, lookup: bytes, address: str) -> None:
        """One more attempt on the account of `lookup` from `address`.

        Raises `RateLimited` (`too_many_attempts`) during a block, without counting.
        """
        now, subject = self._store.clock.now(), _subject(lookup, address)
        async with self._store.database.connection() as connection:
            counted = await connection.fetchval(
                _COUNT, subject, now, COUNTED_FOR, FIRST_BLOCK, BLOCK_MAX
            )
            if counted is not None:
                return
            blocked_until = await connection.fetchval(
                "SELECT blocked_until FROM keys.guesses WHERE subject = $1", subject
            )
        raise _too_many(now, blocked_until)

    def forgive(self, unit: Unit, lookup: bytes, address: str) -> None:
        """The attempt was right: forget the wrong ones before it."""
        unit.record_sql("DELETE FROM keys.guesses WHERE subject = $1", _subject(lookup, address))

    async def sweep(self) -> None:
        """Forget what counts no longer, and what is too much."""
        async with self._store.database.connection() as connection:
            await connection.execute(
                "DELETE FROM keys.guesses WHERE expires_at <= $1", self._store.clock.now()
            )
            await connection.execute(
                "DELETE FROM keys.guesses WHERE subject = ANY(ARRAY("
                "SELECT subject FROM keys.guesses ORDER BY expires_at DESC, subject OFFSET $1))",
                self._subjects_max,
            )


def _subject(lookup: bytes, address: str) -> bytes:
    return hashlib.sha256(lookup + _site(address).encode()).digest()


def _site(address: str) -> str:
    """Whoever has an IPv6 address has the 2**64 of its network."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip_network((int(ip), _IPV6_SITE_BITS), strict=False))


def _too_many(now: datetime, blocked_until: datetime | None) -> RateLimited:
    """Whoever was forgiven meanwhile may come again at once."""
    left_s = 0.0 if blocked_until is None else (blocked_until - now).total_seconds()
    return RateLimited(
        "too_many_attempts",
        "Too many wrong passwords; try again later.",
        retry_after_s=max(1, math.ceil(left_s)),
    )
