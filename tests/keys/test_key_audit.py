"""`/api/keys/{key_id}/audit`: what was tried with a key, for its owner, deleted or not."""

from dataclasses import replace
from typing import Any

import pytest

from kernel.clock import new_id
from kernel.http import Identity
from kernel.http.client import ADDRESS_HEADER, AGENT_HEADER
from kernel.identifiers import shown
from kernel.testing import FakeClock
from services.keys.domain import Scope
from tests.keys.conftest import Keys, Person

FROM_HERE = {ADDRESS_HEADER: "192.0.2.7", AGENT_HEADER: "curl/8"}


@pytest.fixture
def keys(trusting_keys: Keys) -> Keys:
    return trusting_keys


@pytest.fixture
async def person(keys: Keys) -> Person:
    return await keys.register()


async def log(keys: Keys, caller: Identity, key_id: str, query: str = "") -> dict[str, Any]:
    answer = await keys.call("GET", f"/api/keys/{key_id}/audit{query}", caller)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_tells_what_was_tried_by_whom_from_where_newest_first(
    keys: Keys, person: Person, clock: FakeClock
) -> None:
    created = await keys.create_key(person.identity, scopes=["keys:write"])
    path, user_id = f"/api/keys/{created['id']}", shown("user", person.identity.user_id)
    by_key = person.with_key(created["id"], "keys:write")
    await keys.call("DELETE", path, by_key, None, **FROM_HERE)
    revoked = await keys.call("POST", f"{path}/revoke", person.identity, None, **FROM_HERE)
    assert revoked.status_code == 200
    told = await log(keys, person.identity, created["id"])
    newest, refused, oldest = told["entries"]
    told_at = str(clock.now()).replace(" ", "T").replace("+00:00", "Z")
    assert newest == {
        "sequence": 4,
        "action": "revoke_key",
        "actor": {"user_id": user_id, "key_id": None},
        "outcome": "succeeded",
        "address": "192.0.2.7",
        "agent": "curl/8",
        "request_id": revoked.headers["x-request-id"],
        "recorded_at": told_at,
        "sha256": newest["sha256"],
        "previous_sha256": refused["sha256"],
    }
    assert (refused["action"], refused["outcome"]) == ("delete_key", "access_denied")
    assert refused["actor"] == {"user_id": user_id, "key_id": created["id"]}
    assert (oldest["action"], oldest["sequence"]) == ("create_key", 2)
    assert (told["success"], told["next_cursor"]) == (True, None)


async def test_holds_the_entries_of_that_key_alone(keys: Keys, person: Person) -> None:
    first, second = [await keys.create_key(person.identity) for _ in range(2)]
    await keys.call("POST", f"/api/keys/{second['id']}/rotate", person.identity)
    assert [
        one["action"] for one in (await log(keys, person.identity, first["id"]))["entries"]
    ] == ["create_key"]
    assert [
        one["action"] for one in (await log(keys, person.identity, second["id"]))["entries"]
    ] == ["rotate_key", "create_key"]


async def test_pages_through_all_entries_once_each(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    for _ in range(4):
        await keys.call("POST", f"/api/keys/{created['id']}/rotate", person.identity)
    seen: list[int] = []
    query = "?limit=2"
    while query:
        told = await log(keys, person.identity, created["id"], query)
        seen += [one["sequence"] for one in told["entries"]]
        cursor = told["next_cursor"]
        query = f"?limit=2&cursor={cursor}" if cursor else ""
    assert seen == [6, 5, 4, 3, 2]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=", "cursor=-1", "cursor=x", "cursor=1e3"]
)
async def test_refuses_a_page_that_is_none(keys: Keys, person: Person, query: str) -> None:
    created = await keys.create_key(person.identity)
    answer = await keys.call("GET", f"/api/keys/{created['id']}/audit?{query}", person.identity)
    assert answer.status_code == 422, query


async def test_another_users_key_is_none_and_so_is_what_never_was(
    keys: Keys, person: Person
) -> None:
    thief = await keys.register()
    created = await keys.create_key(person.identity)
    await keys.call("POST", f"/api/keys/{created['id']}/revoke", thief.identity)
    for key_id in (created["id"], shown("key", new_id()), "mine", "mfa"):
        answer = await keys.call("GET", f"/api/keys/{key_id}/audit", thief.identity)
        assert (answer.status_code, answer.json()["error"]) == (404, "key_not_found"), key_id


async def test_the_log_of_a_deleted_key_stays_its_owners(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    await keys.call("DELETE", f"/api/keys/{created['id']}", person.identity)
    told = await log(keys, person.identity, created["id"])
    assert [one["action"] for one in told["entries"]] == ["delete_key", "create_key"]


async def test_asks_for_a_caller_and_for_the_scope(keys: Keys, person: Person) -> None:
    created = await keys.create_key(person.identity)
    path = f"/api/keys/{created['id']}/audit"
    assert (await keys.call("GET", path, None)).status_code == 401
    others = [known.value for known in Scope if known is not Scope.KEYS_READ]
    refused = await keys.call("GET", path, person.with_key(created["id"], *others))
    assert (refused.status_code, refused.json()["details"]) == (
        403,
        {"required_scope": "keys:read"},
    )
    told = await keys.call("GET", path, person.with_key(created["id"], "keys:read"))
    assert told.status_code == 200


async def test_where_a_request_came_from_is_null_once_it_is_erased(
    keys: Keys, person: Person
) -> None:
    created = await keys.create_key(person.identity)
    async with keys.platform.database.connection() as connection:
        await connection.execute(
            "DELETE FROM keys.personal WHERE owner_id = $1 AND ref = 'audit-2'",
            person.identity.user_id,
        )
    (entry,) = (await log(keys, person.identity, created["id"]))["entries"]
    assert (entry["address"], entry["agent"]) == (None, None)


async def test_names_the_admin_who_acted_but_not_where_they_were(
    keys: Keys, person: Person
) -> None:
    admin = replace((await keys.register()).identity, role="admin")
    created = await keys.create_key(person.identity)
    owner = shown("user", person.identity.user_id)
    path = f"/api/admin/users/{owner}/keys/{created['id']}/revoke"
    assert (await keys.call("POST", path, admin, None, **FROM_HERE)).status_code == 200
    newest = (await log(keys, person.identity, created["id"]))["entries"][0]
    assert newest["actor"] == {"user_id": shown("user", admin.user_id), "key_id": None}
    assert (newest["action"], newest["address"], newest["agent"]) == ("revoke_key", None, None)
