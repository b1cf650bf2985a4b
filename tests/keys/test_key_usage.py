"""Who used which key of late, told by gateways."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from kernel.clock import new_id
from kernel.identifiers import parsed
from kernel.testing import FakeClock
from services.keys.adapters import KeyUsage
from tests.keys.conftest import ANONYMOUS, GATEWAY, Keys, Person

PATH = "/internal/keys/used"


@pytest.fixture
def keys(trusting_keys: Keys) -> Keys:
    return trusting_keys


@pytest.fixture
async def person(keys: Keys) -> Person:
    return await keys.register()


def z(moment: object) -> str:
    return str(moment).replace(" ", "T").replace("+00:00", "Z")


def use(key: dict[str, Any], at: object, **changes: object) -> dict[str, Any]:
    told = {"key_id": str(parsed("key", key["id"])), "address": "192.0.2.7", "agent": "curl/8"}
    return {**told, "requests": 1, "last_used_at": z(at), **changes}


async def tell(keys: Keys, *uses: dict[str, Any]) -> httpx.Response:
    return await keys.call("POST", PATH, GATEWAY, {"uses": uses})


async def usage(keys: Keys, person: Person, key: dict[str, Any]) -> dict[str, Any]:
    path = f"/api/keys/{key['id']}/revoke?dry_run=true"
    answer = await keys.call("POST", path, person.identity)
    return dict(answer.json()["usage"])


async def test_adds_up_what_several_gateways_tell(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key = await keys.create_key(person.identity)
    now = clock.now()
    earlier = now - timedelta(minutes=1)
    answer = await tell(
        keys, use(key, earlier, requests=2), use(key, now), use(key, earlier, agent="wget")
    )
    assert (answer.status_code, answer.content) == (204, b"")
    await tell(keys, use(key, earlier, requests=4))
    assert await usage(keys, person, key) == {
        "last_used_at": z(now),
        "recent": [
            {"address": "192.0.2.7", "agent": "curl/8", "last_used_at": z(now), "requests": 7},
            {"address": "192.0.2.7", "agent": "wget", "last_used_at": z(earlier), "requests": 1},
        ],
    }


async def test_lists_and_shows_when_a_key_was_used_last(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    used, unused = [await keys.create_key(person.identity) for _ in range(2)]
    await tell(keys, use(used, clock.now()), use(used, clock.now() - timedelta(days=1)))
    listed = (await keys.call("GET", "/api/keys", person.identity)).json()["keys"]
    assert {item["id"]: item["last_used_at"] for item in listed} == {
        used["id"]: z(clock.now()),
        unused["id"]: None,
    }
    one = await keys.call("GET", f"/api/keys/{used['id']}", person.identity)
    assert one.json()["key"]["last_used_at"] == z(clock.now())


async def test_passes_over_keys_that_are_not_there(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key, deleted = [await keys.create_key(person.identity) for _ in range(2)]
    await tell(keys, use(deleted, clock.now()))
    await keys.call("DELETE", f"/api/keys/{deleted['id']}", person.identity)
    assert await keys.count("keys.key_usage") == 0
    unknown = use(key, clock.now(), key_id=str(new_id()))
    answer = await tell(keys, unknown, use(deleted, clock.now()), use(key, clock.now()))
    assert answer.status_code == 204
    assert await keys.count("keys.key_usage") == 1


async def test_keeps_the_twenty_latest_clients_of_a_key(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key, other = [await keys.create_key(person.identity) for _ in range(2)]
    now = clock.now()
    await tell(keys, use(other, now))
    many = [
        use(key, now - timedelta(minutes=n), address=f"198.51.100.{n}") for n in reversed(range(30))
    ]
    await tell(keys, *many[:15])
    await tell(keys, *many[15:])
    recent = (await usage(keys, person, key))["recent"]
    assert [item["address"] for item in recent] == [f"198.51.100.{n}" for n in range(20)]
    assert await keys.count("keys.key_usage") == 21


async def test_a_time_to_come_counts_as_now(keys: Keys, person: Person, clock: FakeClock) -> None:
    key = await keys.create_key(person.identity)
    await tell(keys, use(key, clock.now() + timedelta(days=300)))
    assert (await usage(keys, person, key))["last_used_at"] == z(clock.now())


async def test_loses_no_request_when_gateways_tell_at_once_in_any_order(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key = await keys.create_key(person.identity)
    uses = [use(key, clock.now(), address=f"198.51.100.{n}") for n in range(10)]
    answers = await asyncio.gather(
        *(tell(keys, *(uses if turn % 2 else reversed(uses))) for turn in range(8))
    )
    assert [answer.status_code for answer in answers] == [204] * 8
    recent = (await usage(keys, person, key))["recent"]
    assert [item["requests"] for item in recent] == [8] * 10


async def test_takes_a_thousand_uses_at_once_and_no_more(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key = await keys.create_key(person.identity)
    uses = [use(key, clock.now(), agent=f"agent {n}") for n in range(1_001)]
    assert (await tell(keys, *uses[:1_000])).status_code == 204
    assert (await usage(keys, person, key))["recent"][0]["requests"] == 1
    answer = await tell(keys, *uses)
    assert answer.status_code == 422
    assert answer.json()["details"]["fields"][0]["field"] == "uses"


async def test_an_odd_character_of_one_client_loses_nobodys_use(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key = await keys.create_key(person.identity)
    await tell(keys, use(key, clock.now(), agent="a\u0000b\x85"), use(key, clock.now()))
    agents = {item["agent"] for item in (await usage(keys, person, key))["recent"]}
    assert agents == {"curl/8", "a\ufffdb\ufffd"}


async def test_names_the_field_that_is_wrong(keys: Keys, person: Person, clock: FakeClock) -> None:
    key = await keys.create_key(person.identity)
    for field, value in (
        ("key_id", key["id"]),
        ("address", "x" * 65),
        ("agent", "x" * 201),
        ("agent", None),
        ("requests", 0),
        ("requests", 10**12),
        ("last_used_at", "yesterday"),
        ("last_used_at", "2026-01-01T00:00:00"),
        ("user_id", 1),
    ):
        answer = await tell(keys, use(key, clock.now(), **{field: value}))
        assert answer.status_code == 422, (field, value)
        assert answer.json()["details"]["fields"][0]["field"] == f"uses.0.{field}"


async def test_is_told_by_nobody_but_the_gateway(keys: Keys, person: Person) -> None:
    for caller in (person.identity, ANONYMOUS):
        assert (await keys.call("POST", PATH, caller, {"uses": []})).status_code == 403
    assert (await keys.call("POST", PATH, None, {"uses": []})).status_code == 401
    assert (await keys.call("POST", PATH, GATEWAY, {"uses": []})).status_code == 204


async def test_forgets_what_is_older_than_ninety_days(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    key = await keys.create_key(person.identity)
    now = clock.now()
    await tell(keys, use(key, now), use(key, now - timedelta(days=1), agent="older"))
    record = KeyUsage(keys.platform.database, clock)
    clock.turn(timedelta(days=89, hours=12))
    assert await record.sweep() == 1
    assert [item["agent"] for item in (await usage(keys, person, key))["recent"]] == ["curl/8"]
    clock.turn(timedelta(hours=12))
    assert await record.sweep() == 0
    clock.turn(timedelta(microseconds=1))
    assert await record.sweep() == 1
