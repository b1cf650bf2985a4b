"""Passwords: right and wrong ones, and no more work at once than agreed."""

import asyncio
import threading
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters

from kernel.errors import Unavailable
from services.keys.adapters.passwords import WAITING_MAX, Passwords


class GatedHasher(PasswordHasher):
    """Hashes when told to, and counts how many it was asked for at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.gate = threading.Event()
        self.crowded = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == 2:
                self.crowded.set()
        self.gate.wait(10)
        with self._lock:
            self.running -= 1
        return super().hash(password, salt=salt)


class RecordingHasher(PasswordHasher):
    """Remembers the hashes that it was asked to verify against."""

    def __init__(self) -> None:
        super().__init__(time_cost=2, memory_cost=16, parallelism=1)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the library's name
        self.verified.append(str(hash))
        return super().verify(hash, password)


def cheap() -> Passwords:
    return Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


async def test_knows_the_password_of_a_hash() -> None:
    passwords = cheap()
    assert await passwords.matches("right", await passwords.hash("right"))


async def test_knows_a_wrong_password() -> None:
    passwords = cheap()
    assert not await passwords.matches("wrong", await passwords.hash("right"))


async def test_matches_nobodys_hash_never() -> None:
    assert not await cheap().matches("any", None)


async def test_spends_as_much_on_nobody_as_on_a_user() -> None:
    hasher = RecordingHasher()
    passwords = Passwords(hasher=hasher)
    await passwords.matches("wrong", await passwords.hash("right"))
    await passwords.matches("wrong", None)
    users, nobodys = (extract_parameters(known) for known in hasher.verified)
    assert users == nobodys


async def test_hashes_as_argon2id_at_the_librarys_cost_by_default() -> None:
    assert (await Passwords().hash("any")).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_hashes_one_password_differently_each_time() -> None:
    passwords = cheap()
    assert await passwords.hash("same") != await passwords.hash("same")


async def test_runs_no_more_at_once_than_agreed_and_refuses_when_too_many_wait() -> None:
    hasher = GatedHasher()
    passwords = Passwords(2, hasher)
    admitted = [asyncio.create_task(passwords.hash("x")) for _ in range(2 + WAITING_MAX)]
    await asyncio.to_thread(hasher.crowded.wait, 10)
    with pytest.raises(Unavailable) as refusal:
        await passwords.hash("one too many")
    assert refusal.value.retry_after_s == 1
    hasher.gate.set()
    assert len(set(await asyncio.gather(*admitted))) == len(admitted)
    assert hasher.most == 2
    assert await passwords.hash("room again")
