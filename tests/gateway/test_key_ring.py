"""Incident: LiteLLM CVE-2026-35030, whose cache, keyed by a token's beginning, mixed up users."""

import asyncio
from datetime import timedelta

import pytest

from contracts.keys import KeyRevoked
from kernel.clock import new_id
from kernel.errors import Unauthenticated, Unavailable
from kernel.http.api_key_format import api_key_from, key_sha256
from services.gateway.adapters.key_ring import KNOWN_FOR, LOOKUPS_MAX, UNKNOWN_FOR, KeyRing
from services.gateway.adapters.keys_service import KeysService
from tests.gateway.driving import World

MOMENT = timedelta(microseconds=1)


@pytest.fixture
def ring(world: World) -> KeyRing:
    return KeyRing(KeysService(world.keys, world.internal_tokens).resolve, world.clock)


async def refused(ring: KeyRing, key: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await ring.identify(key)
    return f"{refusal.value.code}: {refusal.value.message}"


async def ring_hears_revocation(world: World, ring: KeyRing, key: str) -> None:
    world.bus.listen(KeyRevoked, ring.hear)
    await world.revoke(key)


async def test_asks_keys_as_itself_and_by_hash_only(world: World, ring: KeyRing) -> None:
    key = world.key()
    await ring.identify(key)
    (asker,) = world.keys.askers
    assert (asker.role, asker.scopes) == ("service", frozenset())
    assert world.keys.asked == [key_sha256(key)]


async def test_asks_once_until_the_memory_ends(world: World, ring: KeyRing) -> None:
    key = world.key()
    await ring.identify(key)
    world.clock.turn(KNOWN_FOR - MOMENT)
    await ring.identify(key)
    assert len(world.keys.asked) == 1
    world.clock.turn(MOMENT)
    await ring.identify(key)
    assert len(world.keys.asked) == 2


async def test_two_keys_that_begin_alike_are_two_keys(world: World, ring: KeyRing) -> None:
    first, second = (world.key(bytes(31) + bytes([last])) for last in (1, 2))
    assert first[:40] == second[:40]
    one, other = await ring.identify(first), await ring.identify(second)
    assert str(one.user_id) == world.facts(first)["user_id"]
    assert str(other.user_id) == world.facts(second)["user_id"]
    assert one.user_id != other.user_id


async def test_bad_keys_of_every_kind_are_answered_alike(world: World, ring: KeyRing) -> None:
    expired = world.key(expires_at=world.clock.now().isoformat())
    inactive = world.key(active=False)
    revoked = world.key()
    await ring.identify(revoked)
    await ring_hears_revocation(world, ring, revoked)
    unknown = api_key_from(new_id().bytes * 2)
    malformed = unknown[:-1] + ("0" if unknown[-1] != "0" else "1")
    foreign = "sk-proj-" + "a" * 48
    answers = {
        await refused(ring, key)
        for key in (expired, inactive, revoked, unknown, malformed, foreign, "'; DROP TABLE x --")
    }
    assert answers == {"invalid_api_key: The API key or token is not valid."}


async def test_a_malformed_key_is_told_without_asking(world: World, ring: KeyRing) -> None:
    await refused(ring, "sk_live_" + "a" * 49)
    assert world.keys.asked == []


async def test_an_unknown_key_is_remembered_shortly(world: World, ring: KeyRing) -> None:
    key = api_key_from(new_id().bytes * 2)
    await refused(ring, key)
    await refused(ring, key)
    assert len(world.keys.asked) == 1
    world.clock.turn(UNKNOWN_FOR)
    await refused(ring, key)
    assert len(world.keys.asked) == 2


async def test_a_remembered_key_ends_at_its_own_moment(world: World, ring: KeyRing) -> None:
    ends_at = world.clock.now() + timedelta(seconds=10)
    key = world.key(expires_at=ends_at.isoformat())
    await ring.identify(key)
    world.clock.turn(timedelta(seconds=10) - MOMENT)
    await ring.identify(key)
    world.clock.turn(MOMENT)
    await refused(ring, key)
    assert len(world.keys.asked) == 1


async def test_many_who_ask_at_once_ask_keys_once(world: World, ring: KeyRing) -> None:
    key = world.key()
    world.keys.open.clear()
    asking = [asyncio.create_task(ring.identify(key)) for _ in range(20)]
    await world.keys.waiting.wait()
    world.keys.open.set()
    identities = await asyncio.gather(*asking)
    assert len(set(identities)) == 1
    assert len(world.keys.asked) == 1


async def test_who_asked_first_may_leave_without_harm(world: World, ring: KeyRing) -> None:
    key = world.key()
    world.keys.open.clear()
    first = asyncio.create_task(ring.identify(key))
    await world.keys.waiting.wait()
    second = asyncio.create_task(ring.identify(key))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    world.keys.open.set()
    assert str((await second).user_id) == world.facts(key)["user_id"]


async def test_a_revoked_key_is_forgotten_at_once(world: World, ring: KeyRing) -> None:
    key, other = world.key(), world.key()
    await ring.identify(key)
    await ring.identify(other)
    await ring_hears_revocation(world, ring, key)
    await refused(ring, key)
    await ring.identify(other)
    assert world.keys.asked.count(key_sha256(other)) == 1


async def test_a_key_revoked_while_it_is_looked_up_is_not_let_in(
    world: World, ring: KeyRing
) -> None:
    key = world.key()
    world.keys.open.clear()
    asking = asyncio.create_task(ring.identify(key))
    await world.keys.waiting.wait()  # keys has read the row already
    await ring_hears_revocation(world, ring, key)
    world.keys.open.set()
    with pytest.raises(Unauthenticated):
        await asking
    await refused(ring, key)


async def test_keys_that_breaks_lets_nobody_in_and_is_not_remembered(
    world: World, ring: KeyRing
) -> None:
    key = world.key()
    world.keys.broken = True
    with pytest.raises(Unavailable) as refusal:
        await ring.identify(key)
    assert refusal.value.retry_after_s == 1
    world.keys.broken = False
    await ring.identify(key)


async def test_an_answer_without_sense_lets_nobody_in(world: World, ring: KeyRing) -> None:
    key = world.key(user_id="root")
    with pytest.raises(Unavailable):
        await ring.identify(key)


async def test_lookups_are_bounded(world: World, ring: KeyRing) -> None:
    world.keys.open.clear()
    world.keys.full_at = LOOKUPS_MAX
    keys = [world.key(index.to_bytes(32)) for index in range(LOOKUPS_MAX + 1)]
    asking = [asyncio.create_task(ring.identify(key)) for key in keys[:-1]]
    await world.keys.full.wait()
    with pytest.raises(Unavailable) as refusal:
        await ring.identify(keys[-1])
    assert refusal.value.code == "too_busy"
    world.keys.open.set()
    await asyncio.gather(*asking)


async def test_asks_anew_when_revocations_may_have_been_missed(world: World, ring: KeyRing) -> None:
    key = world.key()
    await ring.identify(key)
    await world.revoke(key)  # nobody listens
    assert await ring.identify(key)
    ring.forget_all()
    await refused(ring, key)


async def test_an_answer_from_before_a_gap_is_not_remembered(world: World, ring: KeyRing) -> None:
    key = world.key()
    asking = asyncio.ensure_future(ring.identify(key))
    await asyncio.sleep(0)
    ring.forget_all()
    await asking
    await ring.identify(key)
    assert len(world.keys.asked) == 2
