"""How guessing passwords is slowed down."""

import asyncio
from datetime import timedelta

import pytest

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.http.client import ADDRESS_HEADER
from kernel.testing import FakeClock
from services.keys.adapters.guesses import COUNTED_FOR, FAILURES_MAX, Guesses
from tests.keys.conftest import Keys
from tests.keys.test_sign_ins import login, outcomes

ELSEWHERE = {ADDRESS_HEADER.replace("-", "_"): "198.51.100.7"}


@pytest.mark.parametrize("known", [True, False], ids=["a known address", "an unknown one"])
async def test_slows_guessing_down_and_more_so_each_time(
    keys: Keys, clock: FakeClock, *, known: bool
) -> None:
    email = (await keys.register()).email if known else "nobody@example.com"
    for _ in range(FAILURES_MAX):
        assert (await login(keys, email, "wrong")).status_code == 401
    waits = []
    for _ in range(7):
        refused = await login(keys, email)  # the right password, where there is one
        assert (refused.status_code, refused.json()["error"]) == (429, "too_many_attempts")
        waits.append(int(refused.headers["retry-after"]))
        clock.turn(timedelta(seconds=waits[-1]) - timedelta(microseconds=1))
        assert (await login(keys, email)).status_code == 429
        clock.turn(timedelta(microseconds=1))
        assert (await login(keys, email, "wrong")).status_code == 401
    assert waits == [30, 60, 120, 240, 480, 900, 900]


async def test_lets_in_with_the_right_password_when_the_block_is_over(
    keys: Keys, clock: FakeClock
) -> None:
    person = await keys.register()
    for _ in range(FAILURES_MAX):
        await login(keys, person.email, "wrong")
    clock.turn(timedelta(seconds=30))
    assert (await login(keys, person.email)).status_code == 200
    assert await keys.count("keys.guesses") == 0
    logged = await outcomes(keys, person.identity.user_id, "sign_in")
    assert logged == ["invalid_credentials"] * FAILURES_MAX + ["succeeded"]


async def test_counts_each_account_and_each_address_by_itself(keys: Keys) -> None:
    ada, bob = await keys.register(), await keys.register()
    for _ in range(FAILURES_MAX):
        await login(keys, ada.email, "wrong")
    assert (await login(keys, ada.email)).status_code == 429
    assert (await login(keys, bob.email)).status_code == 200
    assert (await login(keys, ada.email, **ELSEWHERE)).status_code == 200


async def test_many_guesses_at_once_get_no_more_tries(keys: Keys) -> None:
    person = await keys.register()
    answers = await asyncio.gather(*(login(keys, person.email, "wrong") for _ in range(30)))
    tried = [answer.status_code for answer in answers]
    assert (tried.count(401), tried.count(429)) == (FAILURES_MAX, 30 - FAILURES_MAX)


async def test_one_ipv6_network_is_one_address(keys: Keys) -> None:
    person = await keys.register()
    for n in range(FAILURES_MAX):
        address = f"2001:4860:1:2::{n + 1:x}"
        answer = await login(keys, person.email, "wrong", x_client_address=address)
        assert answer.status_code == 401
    for address, status in (("2001:4860:1:2:ffff::1", 429), ("2001:4860:1:3::1", 200)):
        answer = await login(keys, person.email, x_client_address=address)
        assert answer.status_code == status, address


async def test_old_failures_count_no_more_and_are_swept_away(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    for _ in range(FAILURES_MAX - 1):
        await login(keys, person.email, "wrong")
    clock.turn(COUNTED_FOR)
    for _ in range(FAILURES_MAX - 1):
        assert (await login(keys, person.email, "wrong")).status_code == 401
    assert (await login(keys, person.email)).status_code == 200
    await login(keys, person.email, "wrong")
    clock.turn(COUNTED_FOR)
    await Guesses(store_of(keys)).sweep()
    assert await keys.count("keys.guesses") == 0


async def test_counts_no_more_than_so_many_at_a_time(keys: Keys) -> None:
    guesses = Guesses(store_of(keys), subjects_max=3)
    for _ in range(5):
        await guesses.count(new_id().bytes, "")
    await guesses.sweep()
    assert await keys.count("keys.guesses") == 3


def store_of(keys: Keys) -> EventStore:
    assert keys.service.store is not None
    return keys.service.store
