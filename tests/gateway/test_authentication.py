"""Every credential in each header form. Incidents: Open WebUI CVE-2026-45339 (limits enforced for
one header only), n8n-mcp CVE-2026-45707 (no identity fell back to the operator's)."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from kernel.clock import new_id
from kernel.http.api_key_format import api_key_from
from services.gateway.adapters.credentials import LENGTH_MAX
from services.gateway.domain import USER_SCOPES
from tests.gateway.driving import World, api_key, bearer

TASKS = "/api/v2/generation/tasks"
GENERATE = "/api/v2/generation/generate"
Form = Callable[[str], tuple[str, str]]

both_forms = pytest.mark.parametrize("form", [api_key, bearer])


@both_forms
async def test_a_key_is_told_to_the_service_as_its_holder(world: World, form: Form) -> None:
    key = world.key(monthly_credit_limit_units=70_000, plan="pro")
    answer = await world.ask("GET", TASKS, [form(key)])
    assert answer.status == 200
    caller, facts = world.caller(world.generation), world.facts(key)
    assert str(caller.user_id) == facts["user_id"]
    assert str(caller.account_id) == facts["account_id"]
    assert str(caller.key_id) == facts["key_id"]
    assert (caller.plan, caller.monthly_credit_limit_units) == ("pro", 70_000)
    assert caller.scopes == {"generation:read", "generation:create"}


@both_forms
async def test_a_key_without_the_scope_is_refused(world: World, form: Form) -> None:
    key = world.key(scopes=["generation:read"])
    answer = await world.ask("POST", GENERATE, [form(key)])
    assert (answer.status, answer.code) == (403, "access_denied")
    assert answer.json["details"] == {"required_scope": "generation:create"}
    assert world.generation.scopes == []


@both_forms
async def test_where_either_of_two_scopes_will_do_the_service_knows_for_what(
    world: World, form: Form
) -> None:
    links = "/api/v2/storage/presigned-url"
    statuses = [
        (await world.ask("POST", links, [form(world.key(scopes=[scope]))])).status
        for scope in ("storage:read", "storage:write", "storage:delete")
    ]
    assert statuses == [200, 200, 403]


@both_forms
async def test_a_narrow_key_of_an_admin_is_refused_and_never_called_admin(
    world: World, form: Form
) -> None:
    key = world.key(role="admin", scopes=["generation:read"])
    assert (await world.ask("POST", GENERATE, [form(key)])).status == 403
    await world.ask("GET", TASKS, [form(key)])
    assert world.caller(world.generation).role == "user"


@both_forms
async def test_bad_keys_are_unauthorised_alike(world: World, form: Form) -> None:
    expired = world.key(expires_at=(world.clock.now() - timedelta(days=1)).isoformat())
    bad = [expired, world.key(active=False), api_key_from(new_id().bytes * 2), "sk_live_x", "x"]
    answers = [await world.ask("GET", TASKS, [form(key)]) for key in bad]
    assert {answer.status for answer in answers} == {401}
    assert {answer.body for answer in answers} == {answers[0].body}
    assert answers[0].code == "invalid_api_key"
    assert answers[0].one("www-authenticate") == 'Bearer realm="smartspec"'


@both_forms
async def test_a_revoked_key_stops_at_once(world: World, form: Form) -> None:
    key = world.key()
    assert (await world.ask("GET", TASKS, [form(key)])).status == 200
    await world.revoke(key)
    assert (await world.ask("GET", TASKS, [form(key)])).status == 401


async def test_an_access_token_has_the_scopes_of_its_role(world: World) -> None:
    user_id = new_id()
    answer = await world.ask("GET", TASKS, [bearer(world.token(user_id=user_id))])
    assert answer.status == 200
    caller = world.caller(world.generation)
    assert (caller.user_id, caller.key_id) == (user_id, None)
    assert caller.scopes == USER_SCOPES


async def test_an_access_token_of_an_unknown_role_may_nothing(world: World) -> None:
    answer = await world.ask("GET", TASKS, [bearer(world.token(role="root"))])
    assert answer.status == 403


async def test_an_ended_access_token_is_unauthorised(world: World) -> None:
    token = world.token()
    world.clock.turn(timedelta(minutes=31))
    answer = await world.ask("GET", TASKS, [bearer(token)])
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.all("www-authenticate")


async def test_an_access_token_is_no_api_key(world: World) -> None:
    answer = await world.ask("GET", TASKS, [api_key(world.token())])
    assert (answer.status, answer.code) == (401, "invalid_api_key")


async def test_an_internal_token_is_no_credential(world: World) -> None:
    await world.ask("GET", TASKS, [bearer(world.token())])
    internal = world.generation.headers_seen["x-internal-token"]
    assert (await world.ask("GET", TASKS, [bearer(internal)])).status == 401
    assert (await world.ask("GET", TASKS, [("x-internal-token", internal)])).status == 401


async def test_a_route_for_people_takes_no_key(world: World) -> None:
    answer = await world.ask("GET", "/auth/me", [bearer(world.key())])
    assert answer.status == 401
    assert answer.all("www-authenticate")
    assert (await world.ask("GET", "/auth/me", [bearer(world.token())])).status == 200


async def test_no_credential_is_unauthorised(world: World) -> None:
    answer = await world.ask("GET", TASKS)
    assert (answer.status, answer.code) == (401, "missing_credentials")
    assert answer.all("www-authenticate")
    assert world.generation.scopes == []


@pytest.mark.parametrize(
    "headers",
    [
        ["X-API-Key", "X-API-Key"],
        ["Authorization", "Authorization"],
        ["X-API-Key", "Authorization"],
        ["x-api-key", "X-Api-Key", "authorization"],
    ],
)
async def test_more_than_one_credential_is_ambiguous(world: World, headers: list[str]) -> None:
    key = world.key()
    shown = [(name, key if name.lower() == "x-api-key" else f"Bearer {key}") for name in headers]
    answer = await world.ask("GET", TASKS, shown)
    assert (answer.status, answer.code) == (400, "ambiguous_credentials")
    assert world.generation.scopes == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer  {key}",
        "Bearer {key}, Bearer {key}",
    ],
)
async def test_an_authorization_in_another_form_is_unauthorised(world: World, value: str) -> None:
    answer = await world.ask("GET", TASKS, [("Authorization", value.format(key=world.key()))])
    assert (answer.status, answer.code) == (401, "invalid_api_key")


async def test_the_scheme_is_read_in_any_case(world: World) -> None:
    answer = await world.ask("GET", TASKS, [("Authorization", f"bEARER {world.key()}")])
    assert answer.status == 200


@both_forms
@pytest.mark.parametrize("credential", ["k" * (LENGTH_MAX + 1), "sk_live_\xe9", "eyJ.\x00.x"])
async def test_an_unreadable_credential_is_unauthorised(
    world: World, form: Form, credential: str
) -> None:
    answer = await world.ask("GET", TASKS, [form(credential)])
    assert (answer.status, answer.code) in {(401, "invalid_api_key"), (401, "invalid_token")}


async def test_a_key_in_the_query_is_not_read(world: World) -> None:
    key = world.key()
    answer = await world.ask("GET", TASKS, query=f"api_key={key}&x-api-key={key}&token={key}")
    assert (answer.status, answer.code) == (401, "missing_credentials")


async def test_an_open_route_is_nobodys_whatever_credential_comes_with_it(world: World) -> None:
    answer = await world.ask("POST", "/auth/login", [bearer(world.token("admin")), api_key("x")])
    assert answer.status == 200
    caller = world.caller(world.keys)
    assert (caller.role, caller.user_id.int, caller.scopes) == ("anonymous", 0, frozenset())


async def test_a_kept_internal_token_is_always_still_good(world: World) -> None:
    token = world.token()
    for _ in range(30):
        await world.ask("GET", TASKS, [bearer(token)])
        assert world.caller(world.generation).role == "user"
        world.clock.turn(timedelta(seconds=4))


async def test_keys_that_cannot_say_is_unavailable_and_tells_no_reason(world: World) -> None:
    world.keys.broken = True
    answer = await world.ask("GET", TASKS, [bearer(world.key())])
    assert (answer.status, answer.code) == (503, "credentials_unavailable")
    assert answer.one("retry-after") == "1"
    assert b"hunter2" not in answer.body
