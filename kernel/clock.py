"""Time and ids: the only module that reads the clock or randomness (Ruff bans them elsewhere)."""

import os
import threading
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Tells the time; tests pass one that they turn by hand (`kernel.testing.FakeClock`)."""

    def now(self) -> datetime:
        """The current time, UTC, timezone-aware, in microseconds."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the one place


_LOCK = threading.Lock()
_last_tick = 0


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 12 bits below the
    millisecond (method 3), then 62 random bits.

    Ids of one process are strictly increasing, so that sorting by id is sorting by creation.
    """
    global _last_tick  # noqa: PLW0603 - monotonicity needs the last value
    with _LOCK:
        tick = (time.time_ns() * 4096) // 1_000_000
        _last_tick = tick = max(tick, _last_tick + 1)
    return uuid7(tick >> 12, tick & 0xFFF, int.from_bytes(os.urandom(8)))


def uuid7(unix_ms: int, sub_ms: int, random_bits: int) -> UUID:
    """Assemble a UUIDv7 from its three parts (48, 12 and the low 62 bits are used)."""
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (sub_ms & 0xFFF) << 64
    value |= 0b10 << 62 | random_bits & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=value)


def random_token(n_bytes: int = 32) -> bytes:
    """Bytes from the operating system's generator, for secrets."""
    return os.urandom(n_bytes)
