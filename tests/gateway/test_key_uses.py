"""Keys are told which of them were used; no request waits for that or fails by it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.errors import Unavailable
from kernel.http.client import AGENT_LENGTH_MAX, Client
from kernel.testing import FakeClock
from services.gateway.adapters.key_uses import CLIENTS_MAX, TOLD_AT_ONCE_MAX, USES_MAX, KeyUses
from services.gateway.adapters.keys_service import Use
from tests.gateway.driving import World, api_key, bearer

TASKS = "/api/v2/generation/tasks"
CLIENT = Client("192.0.2.7", "curl/8")
AWAY_S = 3_600.0


@dataclass
class Keys:
    """What keys was told."""

    away: bool = False
    calls: list[Sequence[Use]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    @property
    def told(self) -> list[Use]:
        return [use for call in self.calls for use in call]

    async def tell(self, uses: Sequence[Use]) -> None:
        self.asked.set()
        await self.open.wait()
        if self.away:
            raise Unavailable("credentials_unavailable", "Not now.")
        self.calls.append(uses)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def uses(keys: Keys, clock: FakeClock) -> KeyUses:
    return KeyUses(keys.tell, clock, tell_every_s=AWAY_S)


async def test_adds_up_what_one_client_asked_and_tells_it_once(
    uses: KeyUses, keys: Keys, clock: FakeClock
) -> None:
    key, other = new_id(), new_id()
    for _ in range(3):
        clock.turn(timedelta(seconds=1))
        uses.count(key, CLIENT)
    last = clock.now()
    clock.turn(timedelta(seconds=1))
    uses.count(other, CLIENT)
    await uses.tell()
    await uses.tell()
    assert keys.calls == [
        [Use(key, *CLIENT, 3, last), Use(other, *CLIENT, 1, last + timedelta(seconds=1))]
    ]
    assert len(uses) == 0


async def test_what_keys_cannot_hear_is_kept_and_told_with_what_came_since(
    uses: KeyUses, keys: Keys, clock: FakeClock
) -> None:
    key = new_id()
    keys.away = True
    uses.count(key, CLIENT)
    await uses.tell()
    clock.turn(timedelta(seconds=5))
    uses.count(key, CLIENT)
    await uses.tell()
    keys.away = False
    await uses.tell()
    assert keys.told == [Use(key, *CLIENT, 2, clock.now())]


async def test_no_more_is_held_than_there_is_room_for_however_long_keys_is_away(
    uses: KeyUses, keys: Keys
) -> None:
    keys.away = True
    for number in range(USES_MAX + 10):
        uses.count(UUID(int=number), CLIENT)
    await uses.tell()
    uses.count(UUID(int=USES_MAX + 20), CLIENT)
    uses.count(UUID(int=0), CLIENT)
    assert len(uses) == USES_MAX
    keys.away = False
    await uses.tell()
    assert {len(call) for call in keys.calls} == {TOLD_AT_ONCE_MAX}
    assert {use.key_id.int for use in keys.told} == set(range(USES_MAX))
    assert keys.told[0].requests == 2


async def test_one_key_does_not_crowd_out_the_others(uses: KeyUses, keys: Keys) -> None:
    key, other = new_id(), new_id()
    for number in range(USES_MAX * 2):
        uses.count(key, Client("192.0.2.7", f"agent {number}"))
    uses.count(other, CLIENT)
    await uses.tell()
    agents = [use.agent for use in keys.told if use.key_id == key]
    assert agents == [f"agent {USES_MAX * 2 - CLIENTS_MAX + one}" for one in range(CLIENTS_MAX)]
    assert keys.told[-1].key_id == other


async def test_what_is_counted_while_keys_is_told_is_told_next(uses: KeyUses, keys: Keys) -> None:
    key = new_id()
    uses.count(key, CLIENT)
    keys.open.clear()
    telling = asyncio.create_task(uses.tell())
    await keys.asked.wait()
    uses.count(key, CLIENT)
    keys.open.set()
    await telling
    await uses.tell()
    assert [use.requests for use in keys.told] == [1, 1]


async def test_the_worker_tells_now_and_then(keys: Keys, clock: FakeClock) -> None:
    uses = KeyUses(keys.tell, clock, tell_every_s=0.001)
    working = asyncio.create_task(uses.run())
    for _ in range(2):
        keys.asked.clear()
        uses.count(new_id(), CLIENT)
        await keys.asked.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert len(keys.told) == 2


async def test_the_worker_tells_once_more_at_its_end(uses: KeyUses, keys: Keys) -> None:
    working = asyncio.create_task(uses.run())
    await asyncio.sleep(0)
    uses.count(new_id(), CLIENT)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert len(keys.told) == 1


async def test_the_end_does_not_wait_for_a_silent_keys(
    uses: KeyUses, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.adapters.key_uses.LAST_TELL_TIMEOUT_S", 0.01)
    working = asyncio.create_task(uses.run())
    await asyncio.sleep(0)
    uses.count(new_id(), CLIENT)
    keys.open.clear()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert len(uses) == 1


async def test_admitted_requests_with_a_key_are_told_with_their_client(world: World) -> None:
    key = world.key(scopes=["generation:read"])
    agent = ("User-Agent", "smartspec/1 " + "x" * 300)
    for _ in range(2):
        assert (await world.ask("GET", TASKS, [api_key(key), agent])).status == 200
    assert (await world.ask("DELETE", f"{TASKS}/1", [api_key(key), agent])).status == 403
    assert (await world.ask("GET", TASKS, [bearer(world.token()), agent])).status == 200
    assert (await world.ask("GET", TASKS, [api_key("sk_live_x"), agent])).status == 401
    (worker,) = world.service.workers
    working = asyncio.ensure_future(worker())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    (told,) = world.keys.used
    assert told == {
        "key_id": world.facts(key)["key_id"],
        "address": "203.0.113.9",
        "agent": agent[1][:AGENT_LENGTH_MAX],
        "requests": 2,
        "last_used_at": world.clock.now().isoformat().replace("+00:00", "Z"),
    }


async def test_a_keys_that_breaks_is_told_later(world: World) -> None:
    await world.ask("GET", TASKS, [api_key(world.key())])
    world.keys.broken = True
    (worker,) = world.service.workers
    working = asyncio.ensure_future(worker())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert world.keys.used == []


@pytest.mark.parametrize("path", ["/internal/keys/used", "/internal/sessions/resolve"])
async def test_what_is_for_the_gateway_is_not_reached_from_outside(world: World, path: str) -> None:
    for credential in (api_key(world.key()), bearer(world.token("admin"))):
        answer = await world.ask("POST", path, [credential], [b'{"uses":[]}'])
        assert (answer.status, answer.code) == (404, "not_found")
    assert world.keys.used == []
    assert world.keys.scopes == []
