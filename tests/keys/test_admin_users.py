"""What admins see of people, and how they shut one out."""

from typing import Any

import httpx

from kernel.http.api_key_format import key_sha256
from kernel.identifiers import shown
from kernel.testing import FakeClock
from tests.keys.conftest import GATEWAY, PASSWORD, Keys, Person
from tests.keys.test_sign_ins import login, outcomes, refresh

PATH = "/api/admin/users"


async def disable(keys: Keys, admin: Person, person: Person) -> httpx.Response:
    path = f"{PATH}/{shown('user', person.identity.user_id)}/disable"
    return await keys.call("POST", path, admin.identity)


async def listed(keys: Keys, admin: Person, query: str = "") -> dict[str, Any]:
    answer = await keys.call("GET", PATH + query, admin.identity)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_lists_people_newest_first(keys: Keys, clock: FakeClock) -> None:
    admin = await keys.admin()
    person = await keys.register("ada@example.com")
    body = await listed(keys, admin)
    assert body["users"][0] == {
        "id": shown("user", person.identity.user_id),
        "email": "ada@example.com",
        "role": "user",
        "plan": "free",
        "status": "active",
        "verified": False,
        "created_at": clock.now().isoformat().replace("+00:00", "Z"),
    }
    assert [one["role"] for one in body["users"]] == ["user", "admin"]
    assert body["next_cursor"] is None


async def test_pages_through_everybody_once(keys: Keys) -> None:
    admin = await keys.admin()
    people = [await keys.register() for _ in range(4)]
    seen, query = [], "?limit=2"
    while query:
        body = await listed(keys, admin, query)
        seen += [one["email"] for one in body["users"]]
        query = f"?limit=2&cursor={body['next_cursor']}" if body["next_cursor"] else ""
    assert seen == [person.email for person in reversed([admin, *people])]


async def test_finds_who_has_exactly_an_address(keys: Keys) -> None:
    admin, person = await keys.admin(), await keys.register("ada@example.com")
    found = await listed(keys, admin, "?email=ADA@example.com")
    assert [one["id"] for one in found["users"]] == [shown("user", person.identity.user_id)]
    assert (await listed(keys, admin, "?email=da@example.com"))["users"] == []


async def test_names_the_parameter_that_is_wrong(keys: Keys) -> None:
    admin = await keys.admin()
    for query, field in (("limit=0", "limit"), ("limit=101", "limit"), ("email=ada", "email")):
        answer = await keys.call("GET", f"{PATH}?{query}", admin.identity)
        assert answer.status_code == 422, query
        assert answer.json()["details"]["fields"][0]["field"] == field
    answer = await keys.call("GET", f"{PATH}?cursor=user_1", admin.identity)
    assert (answer.status_code, answer.json()["details"]) == (422, {"field": "cursor"})


async def test_is_for_signed_in_admins_alone(keys: Keys) -> None:
    person = await keys.register()
    for method, path in (("GET", PATH), ("POST", f"{PATH}/user_1/disable")):
        assert (await keys.call(method, path, person.identity)).status_code == 403
    assert (await disable(keys, person, person)).status_code == 403


async def test_a_disabled_user_has_no_session_key_or_way_in(keys: Keys) -> None:
    admin, person = await keys.admin(), await keys.register()
    session = await keys.sign_in(person)
    created = await keys.create_key(person.identity)
    answer = await disable(keys, admin, person)
    assert (answer.status_code, answer.json()["user"]["status"]) == (200, "disabled")
    assert (await refresh(keys, session["refresh_token"])).status_code == 401
    assert (await login(keys, person.email)).status_code == 401
    assert (await keys.call("GET", "/auth/me", person.identity)).status_code == 401
    key = {"key_sha256": key_sha256(created["api_key"])}
    assert (await keys.call("POST", "/internal/keys/resolve", GATEWAY, key)).status_code == 404
    users = (await listed(keys, admin))["users"]
    assert [one["status"] for one in users] == ["disabled", "active"]


async def test_disabling_is_in_the_users_log_with_the_admin_as_actor_and_happens_once(
    keys: Keys,
) -> None:
    admin, person = await keys.admin(), await keys.register()
    for _ in range(2):
        assert (await disable(keys, admin, person)).status_code == 200
    assert await keys.count("keys.events WHERE type = 'UserDisabled'") == 1
    assert await outcomes(keys, person.identity.user_id, "disable_user") == ["succeeded"] * 2
    acted = f"keys_read.key_audit_logs WHERE actor_id = '{admin.identity.user_id}'"
    assert await keys.count(acted) == 2


async def test_no_admin_shuts_themself_out(keys: Keys) -> None:
    admin = await keys.admin()
    answer = await disable(keys, admin, admin)
    assert (answer.status_code, answer.json()["error"]) == (409, "own_account")
    assert (await login(keys, admin.email)).status_code == 200
    assert await outcomes(keys, admin.identity.user_id, "disable_user") == ["own_account"]


async def test_answers_404_for_nobody_and_for_whoever_is_forgotten(keys: Keys) -> None:
    admin, person = await keys.admin(), await keys.register()
    await keys.call("DELETE", "/auth/me", person.identity, {"password": PASSWORD})
    for path in (f"user_{'0' * 32}", "user_1", "x"):
        answer = await keys.call("POST", f"{PATH}/{path}/disable", admin.identity)
        assert (answer.status_code, answer.json()["error"]) == (404, "user_not_found"), path
    assert (await disable(keys, admin, person)).status_code == 404
    assert [one["role"] for one in (await listed(keys, admin))["users"]] == ["admin"]
