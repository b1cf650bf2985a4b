"""Incident: LiteLLM CVE-2026-35030, whose cache, keyed by a token's beginning, mixed up users."""

from datetime import timedelta
from statistics import median
from time import process_time_ns
from typing import Any
from uuid import UUID

import pytest

from contracts.envelope import PublicEvent
from contracts.keys import KeyDeleted, KeyRevoked, KeyRotated, UserDisabled, UserErased
from kernel.clock import new_id
from kernel.errors import Unauthenticated, Unavailable
from kernel.http import Identity
from kernel.http.api_key_format import api_key_from, key_sha256
from services.gateway.adapters.key_ring import KeyRing
from services.gateway.adapters.keys_service import KeysService
from services.gateway.adapters.ring import UNKNOWN_FOR
from tests.gateway.driving import World, api_key

MOMENT = timedelta(microseconds=1)
ENDS = (KeyRevoked, KeyRotated, KeyDeleted, UserDisabled, UserErased)
TASKS = "/api/v2/generation/tasks"
TIMINGS = 1_000
TOLD_APART = 1.5
UNKNOWN = ("unknown", "malformed", "mistyped", "foreign", "inactive", "revoked")
BAD = (*UNKNOWN, "expired", "retired")
"""Of the last two keys tells as of unknown ones, unless our clock is ahead of its."""


@pytest.fixture
def ring(world: World) -> KeyRing:
    ring = KeyRing(KeysService(world.keys, world.internal_tokens).key, world.clock)
    ring.listen(world.bus)
    return ring


async def identify(ring: KeyRing, key: str) -> Identity:
    return (await ring.holder(key)).identity


async def refused(ring: KeyRing, key: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await ring.holder(key)
    return f"{refusal.value.code}: {refusal.value.message}"


def ending(event: type[PublicEvent], facts: dict[str, Any], world: World) -> PublicEvent:
    """`event` about the key of `facts`, or its user."""
    now = world.clock.now()
    moments = [name for name, of in event.model_fields.items() if name.endswith(("_at", "_until"))]
    return event.model_validate({**facts, **dict.fromkeys(moments, now), "key_version": 2})


def bad_key(kind: str, world: World) -> str:
    ended = (world.clock.now() - MOMENT).isoformat()
    unknown = api_key_from(new_id().bytes * 2)
    match kind:
        case "malformed":
            return "'; DROP TABLE x --"
        case "mistyped":
            return unknown[:-1] + ("0" if unknown[-1] != "0" else "1")
        case "foreign":
            return "sk-proj-" + new_id().hex
        case "inactive":
            return world.key(active=False)
        case "expired":
            return world.key(expires_at=ended)
        case "retired":
            return world.key(valid_until=ended)
        case "unknown" | "revoked":
            return unknown  # keys tells them alike
        case _:
            raise AssertionError(kind)


async def test_asks_keys_as_itself_and_by_hash_only(world: World, ring: KeyRing) -> None:
    key = world.key()
    await ring.holder(key)
    (asker,) = world.keys.askers
    assert (asker.role, asker.scopes) == ("service", frozenset())
    assert world.keys.asked == [key_sha256(key)]


async def test_two_keys_that_begin_alike_are_two_keys(world: World, ring: KeyRing) -> None:
    first, second = (world.key(bytes(31) + bytes([last])) for last in (1, 2))
    assert first[:40] == second[:40]
    one, other = await identify(ring, first), await identify(ring, second)
    assert str(one.user_id) == world.facts(first)["user_id"]
    assert str(other.user_id) == world.facts(second)["user_id"]
    assert one.user_id != other.user_id
    await world.revoke(first)
    await refused(ring, first)
    assert await identify(ring, second) == other


@pytest.mark.parametrize("kind", BAD)
async def test_bad_keys_of_every_kind_are_answered_alike(
    world: World, ring: KeyRing, kind: str
) -> None:
    answer = await refused(ring, bad_key(kind, world))
    assert answer == "invalid_api_key: The API key or token is not valid."


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_bad_keys_of_every_kind_cost_the_same_questions(
    world: World, ring: KeyRing, kind: str
) -> None:
    key = bad_key(kind, world)
    asked = []
    for _ in range(3):
        await refused(ring, key)
        asked.append(len(world.keys.asked))
    world.clock.turn(UNKNOWN_FOR)
    await refused(ring, key)
    assert [*asked, len(world.keys.asked)] == [1, 1, 1, 2]


@pytest.mark.parametrize("kind", BAD)
async def test_bad_keys_of_every_kind_are_the_same_answer_to_a_client(
    world: World, kind: str
) -> None:
    answer = await world.ask("GET", TASKS, [api_key(bad_key(kind, world))])
    assert (answer.status, answer.one("www-authenticate")) == (401, 'Bearer realm="smartspec"')
    assert answer.json == {
        "error": "invalid_api_key",
        "message": "The API key or token is not valid.",
        "details": {},
    }


async def test_bad_keys_of_every_kind_take_the_same_time(world: World) -> None:
    """Processor time, in turn: what else the machine does meets all kinds alike."""
    spent_ns: dict[str, list[int]] = {kind: [] for kind in BAD}
    keys = {kind: bad_key(kind, world) for kind in BAD}
    for _ in range(TIMINGS):
        for kind, key in keys.items():
            began_ns = process_time_ns()
            await world.ask("GET", TASKS, [api_key(key)])
            spent_ns[kind].append(process_time_ns() - began_ns)
    medians = {kind: median(values) for kind, values in spent_ns.items()}
    assert max(medians.values()) <= TOLD_APART * min(medians.values()), medians


async def test_garbage_makes_no_well_formed_key_be_asked_for_anew(
    world: World, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = bad_key("unknown", world)
    await refused(ring, unknown)
    monkeypatch.setattr(ring._malformed._unknown, "_size_max", 5)
    for number in range(20):
        await refused(ring, f"garbage {number}")
    await refused(ring, unknown)
    assert world.keys.asked.count(key_sha256(unknown)) == 1
    assert len(ring._malformed._unknown) == 5


@pytest.mark.parametrize("event", ENDS)
async def test_every_secret_of_what_ended_is_forgotten_at_once(
    world: World, ring: KeyRing, event: type[PublicEvent]
) -> None:
    same: dict[str, Any] = {
        "key_id": str(new_id()),
        "user_id": str(new_id()),
        "account_id": str(new_id()),
    }
    secrets, other = [world.key(**same) for _ in range(2)], world.key()
    for key in (*secrets, other):
        await ring.holder(key)
    for key in secrets:
        del world.keys.known[key_sha256(key)]
    await world.tell(ending(event, same, world))
    for key in secrets:
        await refused(ring, key)
    await ring.holder(other)
    assert world.keys.asked.count(key_sha256(other)) == 1


@pytest.mark.parametrize("event", [UserDisabled, UserErased])
async def test_every_key_of_a_user_is_forgotten_with_them(
    world: World, ring: KeyRing, event: type[PublicEvent]
) -> None:
    user_id = str(new_id())
    keys = [world.key(user_id=user_id) for _ in range(3)]
    for key in keys:
        await ring.holder(key)
    world.keys.known.clear()
    await world.tell(ending(event, {"user_id": user_id, "account_id": str(new_id())}, world))
    for key in keys:
        await refused(ring, key)


async def test_a_retired_secret_is_good_until_its_grace_is_over_and_no_longer(
    world: World, ring: KeyRing
) -> None:
    now = world.clock.now()
    rotated: dict[str, Any] = {
        "key_id": str(new_id()),
        "expires_at": (now + timedelta(days=1)).isoformat(),
    }
    old = world.key(**rotated)
    await ring.holder(old)
    new = world.key(**rotated)
    world.facts(old)["valid_until"] = (now + timedelta(seconds=10)).isoformat()
    facts = {**world.facts(old), "user_id": str(new_id())}
    await world.tell(ending(KeyRotated, facts, world))
    await ring.holder(old)
    world.clock.turn(timedelta(seconds=10) - MOMENT)
    await ring.holder(old)
    world.clock.turn(MOMENT)
    await refused(ring, old)
    await ring.holder(new)
    assert world.keys.asked.count(key_sha256(old)) == 2


async def test_a_secret_in_its_grace_ends_with_its_key(world: World, ring: KeyRing) -> None:
    now = world.clock.now()
    key = world.key(
        expires_at=(now + timedelta(seconds=5)).isoformat(),
        valid_until=(now + timedelta(seconds=10)).isoformat(),
    )
    await ring.holder(key)
    world.clock.turn(timedelta(seconds=5))
    await refused(ring, key)


async def test_keys_that_breaks_lets_nobody_in(world: World, ring: KeyRing) -> None:
    key = world.key()
    world.keys.broken = True
    with pytest.raises(Unavailable) as refusal:
        await ring.holder(key)
    assert refusal.value.retry_after_s == 1
    world.keys.broken = False
    await ring.holder(key)


@pytest.mark.parametrize(
    "facts",
    [{"user_id": "root"}, {"allowed_ips": ["10.0.0.0/8", "somewhere"]}, {"allowed_ips": [None]}],
    ids=str,
)
async def test_an_answer_without_sense_lets_nobody_in(
    world: World, ring: KeyRing, facts: dict[str, Any]
) -> None:
    with pytest.raises(Unavailable):
        await ring.holder(world.key(**facts))


async def test_what_keys_have_in_common_is_one_object(world: World, ring: KeyRing) -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32"]
    one, other = [await ring.holder(world.key(allowed_ips=networks)) for _ in range(2)]
    assert one.identity.scopes is other.identity.scopes
    assert one.networks is other.networks
    assert one.identity.plan is other.identity.plan
    assert one.identity.key_id != other.identity.key_id
    assert isinstance(one.identity.key_id, UUID)
