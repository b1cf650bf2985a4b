"""Rotating a key: a new secret for one and the same key, the one before for a while."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from kernel.errors import Forbidden
from kernel.http import Identity
from kernel.http.access_tokens import AccessTokens
from kernel.http.api_key_format import well_formed
from kernel.service import Platform
from kernel.testing import FakeClock
from tests.keys.conftest import Keys, Person, serving
from tests.keys.watching import entries, facts

LIFE: dict[str, Any] = {
    "scopes": ["generation:read", "keys:write"],
    "allowed_ips": ["192.0.2.0/24"],
    "rate_limits": {"api": "9/minute"},
    "expires_in_days": 3,
}


@pytest.fixture
def keys(trusting_keys: Keys) -> Keys:
    return trusting_keys


@pytest.fixture
async def person(keys: Keys) -> Person:
    return await keys.register()


async def rotate(
    keys: Keys, person: Person, key_id: str, body: Any = None, **headers: str
) -> httpx.Response:
    path = f"/api/keys/{key_id}/rotate"
    return await keys.call("POST", path, person.identity, body, **headers)


async def test_shows_the_new_secret_once_and_says_until_when_the_old_one_works(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity)
    answer = await rotate(keys, person, created["id"])
    until = str(clock.now() + timedelta(hours=24)).replace(" ", "T").replace("+00:00", "Z")
    rotated = answer.json()
    assert answer.status_code == 200
    assert well_formed(rotated["api_key"])
    assert rotated["api_key"] != created["api_key"]
    assert rotated["previous_valid_until"] == until
    assert rotated["key"]["version"] == 2
    assert rotated["key"]["prefix"] == rotated["api_key"][:12]
    assert rotated["key"]["rotation"] == {"previous_valid_until": until}
    again = await keys.call("GET", f"/api/keys/{created['id']}", person.identity)
    assert again.json()["key"] == rotated["key"]
    assert rotated["api_key"] not in again.text


async def test_old_and_new_work_in_grace_and_the_old_one_stops_on_time(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity)
    rotated = (await rotate(keys, person, created["id"], {"grace_period_hours": 2})).json()
    clock.turn(timedelta(hours=2) - timedelta(microseconds=1))
    old, new = await facts(keys, created["api_key"]), await facts(keys, rotated["api_key"])
    assert old is not None
    assert (old["version"], old["valid_until"]) == (1, rotated["previous_valid_until"])
    assert new is not None
    assert (new["version"], new["valid_until"]) == (2, None)
    clock.turn(timedelta(microseconds=1))
    assert await facts(keys, created["api_key"]) is None
    assert await facts(keys, rotated["api_key"]) is not None
    body = (await keys.call("GET", f"/api/keys/{created['id']}", person.identity)).json()
    assert body["key"]["rotation"] is None


async def test_without_grace_the_old_one_stops_at_once(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    rotated = (await rotate(keys, person, created["id"], {"grace_period_hours": 0})).json()
    assert await facts(keys, created["api_key"]) is None
    assert await facts(keys, rotated["api_key"]) is not None
    assert rotated["key"]["rotation"] is None


async def test_both_secrets_are_one_key_with_one_identity_and_the_same_bounds(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity, **LIFE)
    rotated = (await rotate(keys, person, created["id"])).json()
    old, new = await facts(keys, created["api_key"]), await facts(keys, rotated["api_key"])
    assert old is not None
    assert new is not None
    own = {"version", "valid_until"}
    assert {name: old[name] for name in old.keys() - own} == {
        name: new[name] for name in new.keys() - own
    }
    assert new["allowed_ips"] == LIFE["allowed_ips"]
    assert new["rate_limits"] == LIFE["rate_limits"]
    assert await keys.count("keys_read.api_keys_v2") == 1


async def test_grace_never_outlives_the_expiry(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity, **LIFE)
    rotated = (await rotate(keys, person, created["id"], {"grace_period_hours": 168})).json()
    assert rotated["previous_valid_until"] == created["expires_at"]
    clock.turn(timedelta(days=3))
    assert await facts(keys, created["api_key"]) is None
    assert await facts(keys, rotated["api_key"]) is None


async def test_a_second_rotation_ends_the_oldest_secret_so_that_two_are_good(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity)
    secrets = [created["api_key"]]
    for _ in range(3):
        answer = await rotate(keys, person, created["id"], {"grace_period_hours": 168})
        secrets.append(answer.json()["api_key"])
        good = [secret for secret in secrets if await facts(keys, secret) is not None]
        assert good == secrets[-2:]


async def test_an_expired_and_a_revoked_key_can_not_rotate(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    expired = await keys.create_key(person.identity, expires_in_days=1)
    revoked = await keys.create_key(person.identity)
    await keys.call("POST", f"/api/keys/{revoked['id']}/revoke", person.identity)
    clock.turn(timedelta(days=1))
    for created, code in ((expired, "key_expired"), (revoked, "key_revoked")):
        answer = await rotate(keys, person, created["id"])
        assert (answer.status_code, answer.json()["error"]) == (409, code)
    assert await entries(keys, "rotate_key") == [
        (expired["id"], "key_expired"),
        (revoked["id"], "key_revoked"),
    ]


async def test_twenty_rotations_of_one_version_at_once_give_one_winner(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity)
    answers = await asyncio.gather(
        *(rotate(keys, person, created["id"], {"version": 1}) for _ in range(20))
    )
    won = [answer for answer in answers if answer.status_code == 200]
    lost = [answer.json() for answer in answers if answer.status_code == 409]
    assert (len(won), len(lost)) == (1, 19)
    assert {told["error"] for told in lost} == {"key_rotated_meanwhile"}
    assert {told["details"]["version"] for told in lost} == {2}
    assert await facts(keys, won[0].json()["api_key"]) is not None
    outcomes = [outcome for _, outcome in await entries(keys, "rotate_key")]
    assert sorted(outcomes) == ["key_rotated_meanwhile"] * 19 + ["succeeded"]


async def test_rotations_that_name_no_version_never_share_one(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    answers = await asyncio.gather(*(rotate(keys, person, created["id"]) for _ in range(6)))
    versions = [answer.json()["key"]["version"] for answer in answers if answer.is_success]
    assert versions
    assert {answer.status_code for answer in answers} <= {200, 409}
    made = await keys.count("keys_read.api_key_versions")
    assert made == 1 + len(versions)
    assert await keys.count("keys_read.api_key_versions WHERE NOT retired") == 1


async def test_a_revoked_key_is_dead_with_every_secret(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    rotated = (await rotate(keys, person, created["id"])).json()
    await keys.call("POST", f"/api/keys/{created['id']}/revoke", person.identity)
    assert await facts(keys, created["api_key"]) is None
    assert await facts(keys, rotated["api_key"]) is None


WRONG: list[tuple[str, object]] = [
    ("grace_period_hours", -1),
    ("grace_period_hours", 169),
    ("grace_period_hours", 1.5),
    ("grace_period_hours", "24"),
    ("grace_period_hours", True),
    ("grace_period_hours", None),
    ("version", 0),
    ("version", "1"),
    ("version", 2**31),
    ("scopes", ["storage:delete"]),
    ("expires_in_days", 3650),
    ("allowed_ips", []),
    ("monthly_credit_limit", None),
    ("key_sha256", "ab" * 32),
]


async def test_names_the_field_that_is_wrong_and_rotates_nothing(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity)
    for field, value in WRONG:
        answer = await rotate(keys, person, created["id"], {field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["details"]["fields"][0]["field"] == field, value
    assert await keys.count("keys_read.api_key_versions") == 1


async def test_a_rotated_key_keeps_its_format(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity, format="nb_live")
    rotated = (await rotate(keys, person, created["id"])).json()
    for secret in (created["api_key"], rotated["api_key"]):
        assert secret.startswith("nb_live_")
        assert len(secret) == 40
        assert well_formed(secret)


async def test_repeats_the_first_answer_without_the_secret(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    first, again = [
        await rotate(keys, person, created["id"], {}, Idempotency_Key="once") for _ in range(2)
    ]
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json() == {**first.json(), "api_key": None}
    assert await keys.count("keys_read.api_key_versions") == 2
    async with keys.platform.database.connection() as connection:
        stored = await connection.fetchval("SELECT response::text FROM keys.idempotency")
    assert first.json()["api_key"] not in stored


async def test_repeats_an_answer_that_was_lost_from_the_key_itself(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity)
    first = await rotate(keys, person, created["id"], {}, Idempotency_Key="once")
    async with keys.platform.database.connection() as connection:
        await connection.execute("UPDATE keys.idempotency SET status = NULL, response = NULL")
    clock.turn(timedelta(minutes=1))
    again = await rotate(keys, person, created["id"], {}, Idempotency_Key="once")
    assert again.json() == {**first.json(), "api_key": None}
    assert await keys.count("keys_read.api_key_versions") == 2


async def test_one_idempotency_key_is_not_for_two_keys(keys: Keys, person: Person) -> None:
    created = [await keys.create_key(person.identity) for _ in range(2)]
    first, other = [
        await rotate(keys, person, one["id"], {}, Idempotency_Key="once") for one in created
    ]
    assert first.status_code == 200
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_mismatch")
    assert await facts(keys, created[1]["api_key"]) is not None


async def test_no_key_rotates_or_deletes_a_key(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity, scopes=["keys:write"])
    caller = person.with_key(created["id"], "keys:write")
    for method, suffix in (("POST", "/rotate"), ("DELETE", "")):
        answer = await keys.call(method, f"/api/keys/{created['id']}{suffix}", caller)
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
    assert await facts(keys, created["api_key"]) is not None
    assert await entries(keys, "rotate_key") == [(created["id"], "access_denied")]
    assert await entries(keys, "delete_key") == [(created["id"], "access_denied")]


async def test_who_may_not_write_keys_rotates_and_deletes_none(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    who = person.identity
    reader = Identity(who.user_id, who.account_id, "user", "free", frozenset({"keys:read"}))
    for method, suffix in (("POST", "/rotate"), ("DELETE", "")):
        answer = await keys.call(method, f"/api/keys/{created['id']}{suffix}", reader)
        assert answer.status_code == 403
        assert answer.json()["details"] == {"required_scope": "keys:write"}


async def test_another_users_key_is_none_to_rotate(keys: Keys, person: Person) -> None:
    thief = await keys.register()
    created = await keys.create_key(person.identity)
    answer = await rotate(keys, thief, created["id"])
    assert (answer.status_code, answer.json()["error"]) == (404, "key_not_found")
    assert await facts(keys, created["api_key"]) is not None


async def test_asks_for_a_proof_of_that_operation_on_that_key_and_changes_nothing_without(
    platform: Platform, access_tokens: AccessTokens
) -> None:
    asked: list[tuple[object, ...]] = []

    async def refuse(_: object, caller: Identity, *rest: object) -> None:
        asked.append((caller.user_id, *rest))
        raise Forbidden("mfa_required", "Set up a second factor first.")

    async with serving(platform, access_tokens, require_proof=refuse) as keys:
        person = await keys.register()
        created = await keys.create_key(person.identity)
        path = f"/api/keys/{created['id']}"
        rotated = await keys.call("POST", f"{path}/rotate", person.identity, X_MFA_Token="mine")
        deleted = await keys.call("DELETE", path, person.identity)
        for answer in (rotated, deleted):
            assert (answer.status_code, answer.json()["error"]) == (403, "mfa_required")
        told = await facts(keys, created["api_key"])
        assert told is not None
        assert told["version"] == 1
        key_id = told["key_id"]
        rest = [(user_id, proof, operation, str(id_)) for user_id, proof, operation, id_ in asked]
        user_id = person.identity.user_id
        assert rest == [
            (user_id, "mine", "rotate_key", key_id),
            (user_id, None, "delete_key", key_id),
        ]
        assert await entries(keys, "rotate_key") == [(created["id"], "mfa_required")]
        assert await entries(keys, "delete_key") == [(created["id"], "mfa_required")]


async def test_refuses_without_a_proof_unless_the_policy_says_otherwise(
    platform: Platform, access_tokens: AccessTokens
) -> None:
    async with serving(platform, access_tokens) as keys:
        person = await keys.register()
        created = await keys.create_key(person.identity)
        answer = await rotate(keys, person, created["id"])
        assert (answer.status_code, answer.json()["error"]) == (403, "mfa_required")
