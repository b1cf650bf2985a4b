"""How keys end: revoked after a look at who would miss them, deleted, or ended by an admin."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kernel.clock import new_id
from kernel.http import Identity
from kernel.identifiers import parsed, shown
from kernel.testing import FakeClock
from tests.keys.conftest import GATEWAY, Keys, Person
from tests.keys.watching import entries, facts


@pytest.fixture
def keys(trusting_keys: Keys) -> Keys:
    return trusting_keys


@pytest.fixture
async def person(keys: Keys) -> Person:
    return await keys.register()


@pytest.fixture
async def admin(keys: Keys) -> Identity:
    somebody = await keys.register()
    return replace(somebody.identity, role="admin")


def admin_path(owner: Identity, key_id: str = "") -> str:
    path = f"/api/admin/users/{shown('user', owner.user_id)}/keys"
    return f"{path}/{key_id}/revoke" if key_id else path


async def test_a_deleted_key_is_dead_and_404_everywhere(keys: Keys, person: Person) -> None:
    created, other = [await keys.create_key(person.identity) for _ in range(2)]
    path = f"/api/keys/{created['id']}"
    deleted = await keys.call("DELETE", path, person.identity)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert await facts(keys, created["api_key"]) is None
    for method, asked in (
        ("GET", path),
        ("POST", f"{path}/rotate"),
        ("POST", f"{path}/revoke"),
        ("POST", f"{path}/revoke?dry_run=true"),
        ("DELETE", path),
    ):
        answer = await keys.call(method, asked, person.identity)
        assert (answer.status_code, answer.json()["error"]) == (404, "key_not_found"), asked
    listed = (await keys.call("GET", "/api/keys", person.identity)).json()["keys"]
    assert [item["id"] for item in listed] == [other["id"]]


async def test_what_was_done_with_a_deleted_key_stays_in_the_log(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity)
    await keys.call("POST", f"/api/keys/{created['id']}/rotate", person.identity)
    await keys.call("DELETE", f"/api/keys/{created['id']}", person.identity)
    for action in ("create_key", "rotate_key", "delete_key"):
        assert await entries(keys, action) == [(created["id"], "succeeded")]


async def test_a_revoked_key_can_be_deleted(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    await keys.call("POST", f"/api/keys/{created['id']}/revoke", person.identity)
    deleted = await keys.call("DELETE", f"/api/keys/{created['id']}", person.identity)
    assert deleted.status_code == 204


async def test_another_users_key_is_none_to_delete(keys: Keys, person: Person) -> None:
    thief = await keys.register()
    created = await keys.create_key(person.identity)
    answer = await keys.call("DELETE", f"/api/keys/{created['id']}", thief.identity)
    assert (answer.status_code, answer.json()["error"]) == (404, "key_not_found")
    assert await facts(keys, created["api_key"]) is not None


async def test_a_dry_run_says_who_would_be_cut_off_and_changes_nothing(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity)
    used_at = str(clock.now()).replace(" ", "T").replace("+00:00", "Z")
    use = {"address": "192.0.2.7", "agent": "curl/8", "last_used_at": used_at, "requests": 3}
    told = {"key_id": str(parsed("key", created["id"])), **use}
    await keys.call("POST", "/internal/keys/used", GATEWAY, {"uses": [told]})
    events = await keys.count("keys.events")
    path = f"/api/keys/{created['id']}"
    answer = await keys.call("POST", f"{path}/revoke?dry_run=true", person.identity)
    key = (await keys.call("GET", path, person.identity)).json()["key"]
    assert answer.json() == {
        "success": True,
        "dry_run": True,
        "key": key,
        "usage": {"last_used_at": used_at, "recent": [use]},
    }
    assert key["status"] == "active"
    assert key["last_used_at"] == used_at
    assert await keys.count("keys.events") == events
    assert await facts(keys, created["api_key"]) is not None


async def test_a_dry_run_of_a_key_that_nobody_used_says_so(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    path = f"/api/keys/{created['id']}/revoke?dry_run=true"
    answer = await keys.call("POST", path, person.identity)
    assert answer.json()["usage"] == {"last_used_at": None, "recent": []}


@pytest.mark.parametrize(
    ("query", "field"),
    [("dry_run=perhaps", "dry_run"), ("dryrun=true", "dryrun"), ("dry-run=1", "dry-run")],
)
async def test_a_misspelt_dry_run_does_not_revoke(
    keys: Keys, person: Person, query: str, field: str
) -> None:
    created = await keys.create_key(person.identity)
    path = f"/api/keys/{created['id']}/revoke?{query}"
    answer = await keys.call("POST", path, person.identity)
    assert answer.status_code == 422
    assert answer.json()["details"]["fields"][0]["field"] == field
    assert await facts(keys, created["api_key"]) is not None


async def test_every_revocation_is_in_the_log_and_every_refusal_too(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity)
    who = person.identity
    reader = Identity(who.user_id, who.account_id, "user", "free", frozenset({"keys:read"}))
    path = f"/api/keys/{created['id']}/revoke"
    for caller in (reader, person.identity, person.identity):
        await keys.call("POST", path, caller)
    foreign = shown("key", new_id())
    await keys.call("POST", f"/api/keys/{foreign}/revoke", person.identity)
    assert await entries(keys, "revoke_key") == [
        (created["id"], "access_denied"),
        (created["id"], "succeeded"),
        (created["id"], "succeeded"),
        (foreign, "key_not_found"),
    ]


async def test_an_admin_sees_a_users_keys_as_the_user_does(
    keys: Keys, person: Person, admin: Identity
) -> None:
    created = [await keys.create_key(person.identity) for _ in range(3)]
    await keys.create_key(admin)
    own = (await keys.call("GET", "/api/keys", person.identity)).json()
    seen = await keys.call("GET", admin_path(person.identity), admin)
    assert seen.json() == own
    assert [item["id"] for item in own["keys"]] == [item["id"] for item in reversed(created)]
    first = (await keys.call("GET", f"{admin_path(person.identity)}?limit=2", admin)).json()
    rest = await keys.call(
        "GET", f"{admin_path(person.identity)}?cursor={first['next_cursor']}", admin
    )
    assert [item["id"] for item in rest.json()["keys"]] == [created[0]["id"]]


async def test_an_admin_revokes_a_users_key_and_the_owners_log_says_who(
    keys: Keys, person: Person, admin: Identity, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity)
    clock.turn(timedelta(minutes=1))
    answer = await keys.call("POST", admin_path(person.identity, created["id"]), admin)
    assert answer.status_code == 200
    assert answer.json()["key"]["status"] == "revoked"
    assert await facts(keys, created["api_key"]) is None
    async with keys.platform.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT user_id, actor_id, actor_key_id, key_id, outcome"
            " FROM keys_read.key_audit_logs WHERE action = 'revoke_key'"
        )
    assert [tuple(row) for row in rows] == [
        (
            person.identity.user_id,
            admin.user_id,
            None,
            parsed("key", created["id"]),
            "succeeded",
        )
    ]


async def test_an_admin_finds_no_key_under_another_user_and_no_user_that_is_not_there(
    keys: Keys, person: Person, admin: Identity
) -> None:
    created = await keys.create_key(person.identity)
    other = await keys.register()
    nobody = replace(person.identity, user_id=new_id())
    for path, code in (
        (admin_path(other.identity, created["id"]), "key_not_found"),
        (admin_path(person.identity, shown("key", new_id())), "key_not_found"),
        (admin_path(person.identity, "key_x"), "key_not_found"),
        (admin_path(nobody, created["id"]), "user_not_found"),
        ("/api/admin/users/me/keys/" + created["id"] + "/revoke", "user_not_found"),
    ):
        answer = await keys.call("POST", path, admin)
        assert (answer.status_code, answer.json()["error"]) == (404, code), path
    listed = await keys.call("GET", admin_path(nobody), admin)
    assert (listed.status_code, listed.json()["error"]) == (404, "user_not_found")
    assert await facts(keys, created["api_key"]) is not None


async def test_nobody_but_an_admin_who_is_signed_in_touches_another_users_keys(
    keys: Keys, person: Person, admin: Identity
) -> None:
    created = await keys.create_key(person.identity)
    stranger = await keys.register()
    by_key = replace(admin, key_id=new_id())
    for caller in (stranger.identity, person.identity, by_key):
        listed = await keys.call("GET", admin_path(person.identity), caller)
        revoked = await keys.call("POST", admin_path(person.identity, created["id"]), caller)
        assert (listed.status_code, revoked.status_code) == (403, 403)
    assert await facts(keys, created["api_key"]) is not None
    async with keys.platform.database.connection() as connection:
        logs = await connection.fetch(
            "SELECT user_id FROM keys_read.key_audit_logs WHERE outcome = 'access_denied'"
        )
    # Each in the log of who tried: nobody writes into another's.
    assert {row["user_id"] for row in logs} == {
        stranger.identity.user_id,
        person.identity.user_id,
        admin.user_id,
    }
