"""Passwords, hashed by argon2id in a thread, a few at once; it must not know whose they are."""

import asyncio
import base64
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from kernel.clock import random_token
from kernel.errors import Unavailable

AT_ONCE_MAX: Final = 4
WAITING_MAX: Final = 64

T = TypeVar("T")


class Passwords:
    """Hashes and verifies; `at_once_max` at a time, `WAITING_MAX` wait, the rest is refused."""

    def __init__(
        self, at_once_max: int = AT_ONCE_MAX, hasher: PasswordHasher | None = None
    ) -> None:
        """`hasher` defaults to argon2-cffi's parameters, which are RFC 9106's second choice."""
        self._hasher = hasher or PasswordHasher()
        self._running = asyncio.Semaphore(at_once_max)
        self._waiting = 0
        self._nobodys = _hash_of_nothing(self._hasher)

    async def hash(self, password: str) -> str:
        """The encoded argon2id hash. Raises `Unavailable` when too many wait."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether `password` made `password_hash`; None (nobody's) takes as long and never does.

        Raises `Unavailable` when too many wait.
        """
        known = self._nobodys if password_hash is None else password_hash
        return await self._in_thread(lambda: self._verify(known, password))

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Unavailable("busy", "Too many sign-ins at once; try again.", retry_after_s=1)
        self._waiting += 1
        try:
            await self._running.acquire()
        finally:
            self._waiting -= 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self._running.release()


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """An encoded hash with the parameters of `hasher` that no password is known to make."""

    def random_base64(length: int) -> str:
        return base64.b64encode(random_token(length)).rstrip(b"=").decode()

    return (
        f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        f"${random_base64(hasher.salt_len)}${random_base64(hasher.hash_len)}"
    )
