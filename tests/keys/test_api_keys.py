"""`/api/keys`: creating, listing, reading and revoking, each user their own."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from kernel.clock import new_id
from kernel.http.api_key_format import well_formed
from kernel.identifiers import shown
from kernel.testing import FakeClock
from services.keys.domain import Scope
from tests.keys.conftest import Keys
from tests.keys.watching import facts

CREATE: dict[str, Any] = {"name": "My Production Key", "scopes": ["generation:create"]}


def z(moment: object) -> str:
    return str(moment).replace(" ", "T").replace("+00:00", "Z")


async def test_creates_a_key_in_the_seeds_shape(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    asked = {**CREATE, "expires_in_days": 365}
    created = await keys.create_key(person.identity, **asked)
    api_key, key_id = created.pop("api_key"), created.pop("id")
    assert created == {
        "name": "My Production Key",
        "scopes": ["generation:create"],
        "prefix": api_key[:12],
        "created_at": z(clock.now()),
        "expires_at": z(clock.now() + timedelta(days=365)),
        "monthly_credit_limit": None,
        "version": 1,
        "allowed_ips": [],
        "rate_limits": {},
    }
    assert well_formed(api_key)
    assert len(key_id) == len("key_") + 32


@pytest.mark.parametrize(
    ("limit", "units"), [(0, 0), (5, 50_000), (0.1, 1_000), (12.3456, 123_456), (10**9, 10**13)]
)
async def test_keeps_a_monthly_limit_exactly_and_tells_it(
    keys: Keys, limit: float, units: int
) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, monthly_credit_limit=limit)
    assert created["monthly_credit_limit"] == limit
    shown = await keys.call("GET", f"/api/keys/{created['id']}", person.identity)
    assert shown.json()["key"]["monthly_credit_limit"] == limit
    told = await facts(keys, created["api_key"])
    assert told is not None
    assert told["monthly_credit_limit_units"] == units


async def test_a_limited_key_makes_no_key_which_would_spend_beside_it(keys: Keys) -> None:
    person = await keys.register()
    own = await keys.create_key(person.identity, scopes=["keys:write"], monthly_credit_limit=5)
    caller = person.with_key(own["id"], "keys:write")
    for limit in (None, 5.0001, 5, 1):
        asked = {"name": "n", "scopes": ["keys:write"], "monthly_credit_limit": limit}
        answer = await keys.call("POST", "/api/keys", caller, asked)
        assert answer.status_code == 403, limit
        assert answer.json()["details"]["field"] == "monthly_credit_limit"


async def test_a_key_without_end_and_limit_says_null(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    assert (created["expires_at"], created["monthly_credit_limit"]) == (None, None)


async def test_keeps_a_scope_that_is_asked_for_twice_once(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, scopes=["keys:read", "keys:read"])
    assert created["scopes"] == ["keys:read"]


WRONG: list[tuple[str, object]] = [
    ("name", None),
    ("name", ""),
    ("name", " \t"),
    ("name", "x" * 101),
    ("name", "a\u0000b"),
    ("name", 7),
    ("scopes", []),
    ("scopes", None),
    ("scopes", "keys:read"),
    ("scopes", ["admin"]),
    ("scopes", ["keys:read"] * 100),
    ("expires_in_days", 0),
    ("expires_in_days", 3651),
    ("expires_in_days", 1.5),
    ("expires_in_days", True),
    ("expires_in_days", "1"),
    ("monthly_credit_limit", -0.0001),
    ("monthly_credit_limit", 0.00001),
    ("monthly_credit_limit", 10**30),
    ("monthly_credit_limit", True),
    ("monthly_credit_limit", "1"),
    ("monthly_credit_limit", []),
    ("allowed_ips", None),
    ("allowed_ips", "192.0.2.1"),
    ("allowed_ips", [7]),
    ("allowed_ips", ["192.0.2.1"] * 51),
    ("rate_limits", None),
    ("rate_limits", "10/minute"),
    ("format", "sk_test"),
    ("format", None),
    ("user_id", "user_1"),
    ("key_sha256", "ab" * 32),
    ("owner", "me"),
]
WRONG_WITHIN: list[tuple[str, str, object]] = [
    ("scopes.1", "scopes", ["keys:read", "admin"]),
    ("allowed_ips.1", "allowed_ips", ["192.0.2.1", "here"]),
    ("allowed_ips.0", "allowed_ips", ["192.0.2.1/33"]),
    ("allowed_ips.0", "allowed_ips", ["192.0.2.1/24"]),
    ("allowed_ips.0", "allowed_ips", ["fe80::1%eth0"]),
    ("allowed_ips.0", "allowed_ips", [""]),
    ("allowed_ips.0", "allowed_ips", ["1" * 65]),
    ("rate_limits.api", "rate_limits", {"api": "10"}),
    ("rate_limits.api", "rate_limits", {"api": "0/minute"}),
    ("rate_limits.api", "rate_limits", {"api": "-1/minute"}),
    ("rate_limits.api", "rate_limits", {"api": "10/fortnight"}),
    ("rate_limits.api", "rate_limits", {"api": 10}),
    ("rate_limits.upload", "rate_limits", {"upload": "1/" + "0" * 40 + "minute"}),
    ("rate_limits.rotation", "rate_limits", {"rotation": "1/hour"}),
]


async def test_names_the_field_that_is_wrong_and_creates_nothing(keys: Keys) -> None:
    person = await keys.register()
    for field, value in WRONG:
        answer = await keys.call("POST", "/api/keys", person.identity, {**CREATE, field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["details"]["fields"][0]["field"].split(".")[0] == field, value
    assert await keys.count("keys_read.api_keys_v2") == 0


async def test_names_the_entry_that_is_wrong(keys: Keys) -> None:
    person = await keys.register()
    for named, field, value in WRONG_WITHIN:
        answer = await keys.call("POST", "/api/keys", person.identity, {**CREATE, field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["details"]["fields"][0]["field"] == named, value
    assert await keys.count("keys_read.api_keys_v2") == 0


async def test_refuses_a_limit_that_is_no_finite_number(keys: Keys) -> None:
    person = await keys.register()
    token = keys.platform.internal_tokens.mint(person.identity)
    for limit in ("NaN", "Infinity", "-Infinity", "1e999"):
        answer = await keys.client.post(
            "/api/keys",
            content=f'{{"name": "n", "scopes": ["keys:read"], "monthly_credit_limit": {limit}}}',
            headers={"x-internal-token": token, "content-type": "application/json"},
        )
        assert answer.status_code == 422, limit


async def test_refuses_a_caller_that_never_registered(keys: Keys) -> None:
    person = await keys.register()
    stranger = type(person.identity)(new_id(), new_id(), "user", "free", person.identity.scopes)
    answer = await keys.call("POST", "/api/keys", stranger, CREATE)
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")


async def test_asks_for_the_scope_of_the_route(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    path = f"/api/keys/{created['id']}"
    for method, asked, scope in (
        ("POST", "/api/keys", "keys:write"),
        ("GET", "/api/keys", "keys:read"),
        ("GET", path, "keys:read"),
        ("POST", f"{path}/revoke", "keys:write"),
    ):
        others = [known.value for known in Scope if known.value != scope]
        caller = person.with_key(created["id"], *others)
        answer = await keys.call(method, asked, caller, CREATE if method == "POST" else None)
        assert answer.status_code == 403, (method, asked)
        assert answer.json()["details"] == {"required_scope": scope}


async def test_a_key_creates_another_within_its_own_bounds(keys: Keys) -> None:
    person = await keys.register()
    own = {"expires_in_days": 10}
    parent = await keys.create_key(person.identity, scopes=["keys:write", "keys:read"], **own)
    caller = person.with_key(parent["id"], "keys:write", "keys:read")
    child = await keys.create_key(caller, scopes=["keys:read"], **own)
    assert child["expires_at"] == parent["expires_at"]


async def test_refuses_a_key_more_than_the_key_that_asks(keys: Keys) -> None:
    person = await keys.register()
    own = {"scopes": ["keys:write"], "expires_in_days": 10}
    parent = await keys.create_key(person.identity, **own)
    claimed = person.with_key(parent["id"], "keys:write", "storage:delete")
    more: list[tuple[str, object]] = [
        ("scopes", ["storage:delete"]),
        ("expires_in_days", 11),
        ("expires_in_days", None),
    ]
    for field, value in more:
        answer = await keys.call("POST", "/api/keys", claimed, {"name": "n", **own, field: value})
        assert (answer.status_code, answer.json()["error"]) == (403, "exceeds_own_key"), value
        assert answer.json()["details"] == {"field": field}
    assert await keys.count("keys_read.api_keys_v2") == 1


async def test_a_revoked_key_creates_none_while_its_token_lives(keys: Keys) -> None:
    person = await keys.register()
    parent = await keys.create_key(person.identity, scopes=["keys:write"])
    caller = person.with_key(parent["id"], "keys:write")
    await keys.call("POST", f"/api/keys/{parent['id']}/revoke", caller)
    body = {"name": "n", "scopes": ["keys:write"]}
    answer = await keys.call("POST", "/api/keys", caller, body)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_api_key")


async def test_repeats_the_first_answer_without_the_key(keys: Keys) -> None:
    person = await keys.register()
    first, again = [
        await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
        for _ in range(2)
    ]
    assert "idempotency-replayed" not in first.headers
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json() == {**first.json(), "api_key": None}
    assert await keys.count("keys_read.api_keys_v2") == 1


async def test_repeats_an_answer_that_was_lost_from_the_key_itself(
    keys: Keys, clock: FakeClock
) -> None:
    person = await keys.register()
    first = await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
    async with keys.platform.database.connection() as connection:
        await connection.execute("UPDATE keys.idempotency SET status = NULL, response = NULL")
    clock.turn(timedelta(minutes=1))
    again = await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json() == {**first.json(), "api_key": None}


async def test_refuses_one_idempotency_key_for_two_bodies(keys: Keys) -> None:
    person = await keys.register()
    other = {**CREATE, "name": "another"}
    await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
    answer = await keys.call("POST", "/api/keys", person.identity, other, Idempotency_Key="once")
    assert (answer.status_code, answer.json()["error"]) == (422, "idempotency_mismatch")


async def test_creates_one_key_for_many_requests_at_once_under_one_idempotency_key(
    keys: Keys,
) -> None:
    person = await keys.register()
    answers = await asyncio.gather(
        *(
            keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
            for _ in range(6)
        )
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    shown_keys = [a.json()["api_key"] for a in answers if a.status_code == 201]
    assert len([api_key for api_key in shown_keys if api_key]) == 1
    assert await keys.count("keys_read.api_keys_v2") == 1


async def test_two_users_may_use_one_idempotency_key(keys: Keys) -> None:
    people = [await keys.register(), await keys.register()]
    answers = [
        await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
        for person in people
    ]
    assert all(answer.json()["api_key"] for answer in answers)


async def test_never_stores_a_key(keys: Keys) -> None:
    person = await keys.register()
    answer = await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
    async with keys.platform.database.connection() as connection:
        stored = await connection.fetchval("SELECT response::text FROM keys.idempotency")
    assert stored is not None
    assert answer.json()["api_key"] not in stored


async def test_lists_own_keys_newest_first_page_by_page(keys: Keys) -> None:
    person, other = await keys.register(), await keys.register()
    created = [await keys.create_key(person.identity, name=f"{n}") for n in range(5)]
    await keys.create_key(other.identity)
    listed: list[str] = []
    path: str | None = "/api/keys?limit=2"
    pages = 0
    while path is not None:
        body = (await keys.call("GET", path, person.identity)).json()
        assert body["success"] is True
        listed += [item["id"] for item in body["keys"]]
        cursor = body["next_cursor"]
        path = f"/api/keys?limit=2&cursor={cursor}" if cursor else None
        pages += 1
    assert listed == [item["id"] for item in reversed(created)]
    assert pages == 3


async def test_lists_twenty_by_default_and_says_when_that_is_all(keys: Keys) -> None:
    person = await keys.register()
    for _ in range(20):
        await keys.create_key(person.identity)
    body = (await keys.call("GET", "/api/keys", person.identity)).json()
    assert (len(body["keys"]), body["next_cursor"]) == (20, None)


async def test_refuses_a_page_that_there_can_not_be(keys: Keys) -> None:
    person = await keys.register()
    for name, value in (("limit", "0"), ("limit", "101"), ("limit", "x"), ("cursor", "x")):
        answer = await keys.call("GET", f"/api/keys?{name}={value}", person.identity)
        assert answer.status_code == 422, (name, value)
        assert name in str(answer.json()["details"])


async def test_shows_a_key_without_secret_or_hash(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    answer = await keys.call("GET", f"/api/keys/{created['id']}", person.identity)
    api_key = created.pop("api_key")
    assert answer.json() == {
        "success": True,
        "key": {
            **created,
            "is_active": True,
            "status": "active",
            "revoked_at": None,
            "last_used_at": None,
            "rotation": None,
        },
    }
    assert api_key not in answer.text


async def test_shows_an_expired_key_as_inactive(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, expires_in_days=1)
    clock.turn(timedelta(days=1))
    answer = await keys.call("GET", f"/api/keys/{created['id']}", person.identity)
    assert answer.json()["key"]["is_active"] is False
    assert answer.json()["key"]["status"] == "expired"


async def test_revokes_a_key_for_ever(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    path = f"/api/keys/{created['id']}/revoke"
    revoked_at = z(clock.now())
    first = await keys.call("POST", path, person.identity)
    clock.turn(timedelta(days=1))
    again = await keys.call("POST", path, person.identity)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["success"] is True
    assert first.json()["key"]["is_active"] is False
    assert first.json()["key"]["status"] == "revoked"
    assert first.json()["key"]["revoked_at"] == revoked_at
    assert await keys.count("keys.events WHERE type = 'KeyRevoked'") == 1


async def test_answers_alike_for_anothers_key_and_none_and_no_id_at_all(keys: Keys) -> None:
    person, thief = await keys.register(), await keys.register()
    created = await keys.create_key(person.identity)
    ids = [created["id"], shown("key", new_id()), "key_x", created["id"].upper(), "%00"]
    for method, suffix in (("GET", ""), ("POST", "/revoke")):
        answers = [
            await keys.call(method, f"/api/keys/{key_id}{suffix}", thief.identity) for key_id in ids
        ]
        assert [answer.status_code for answer in answers] == [404] * len(ids)
        assert {answer.text for answer in answers} == {answers[0].text}
        assert answers[0].json()["error"] == "key_not_found"
    mine = await keys.call("GET", f"/api/keys/{created['id']}", person.identity)
    assert mine.json()["key"]["is_active"] is True
