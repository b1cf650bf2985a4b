"""What the gateway is told of a session, and that the dead are all answered alike."""

from datetime import timedelta
from typing import Any

import httpx

from kernel.clock import new_id
from kernel.testing import FakeClock
from tests.keys.conftest import ANONYMOUS, GATEWAY, PASSWORD, Keys

PATH = "/internal/sessions/resolve"


async def resolved(keys: Keys, session: dict[str, Any]) -> httpx.Response:
    session_id = keys.access_tokens.read(session["access_token"]).session_id
    return await keys.call("POST", PATH, GATEWAY, {"session_id": str(session_id)})


async def gone(keys: Keys, session: dict[str, Any]) -> bool:
    answer = await resolved(keys, session)
    return (answer.status_code, answer.json()["error"]) == (404, "session_not_found")


async def test_tells_who_is_signed_in(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    session = await keys.sign_in(person)
    claims = keys.access_tokens.read(session["access_token"])
    ends = clock.now() + timedelta(days=30)
    assert (await resolved(keys, session)).json() == {
        "session_id": str(claims.session_id),
        "user_id": str(person.identity.user_id),
        "account_id": str(claims.account_id),
        "role": "user",
        "plan": "free",
        "expires_at": ends.isoformat().replace("+00:00", "Z"),
    }


async def test_knows_no_session_that_never_was(keys: Keys) -> None:
    answer = await keys.call("POST", PATH, GATEWAY, {"session_id": str(new_id())})
    assert (answer.status_code, answer.json()["error"]) == (404, "session_not_found")


async def test_knows_a_session_until_its_days_are_over(keys: Keys, clock: FakeClock) -> None:
    session = await keys.sign_in(await keys.register())
    session_id = keys.access_tokens.read(session["access_token"]).session_id
    body = {"session_id": str(session_id)}
    clock.turn(timedelta(days=30) - timedelta(microseconds=1))
    assert (await keys.call("POST", PATH, GATEWAY, body)).status_code == 200
    clock.turn(timedelta(microseconds=1))
    assert (await keys.call("POST", PATH, GATEWAY, body)).status_code == 404


async def test_knows_no_session_of_whoever_was_disabled(keys: Keys) -> None:
    person, admin = await keys.register(), await keys.admin()
    session = await keys.sign_in(person)
    path = f"/api/admin/users/user_{person.identity.user_id.hex}/disable"
    assert (await keys.call("POST", path, admin.identity)).status_code == 200
    assert await gone(keys, session)


async def test_knows_no_session_of_whoever_was_erased(keys: Keys) -> None:
    person = await keys.register()
    session = await keys.sign_in(person)
    body = {"password": PASSWORD}
    assert (await keys.call("DELETE", "/auth/me", person.identity, body)).status_code == 202
    assert await gone(keys, session)


async def test_refuses_what_is_no_id(keys: Keys) -> None:
    for wrong in (None, "", "1", "user_1", 7):
        answer = await keys.call("POST", PATH, GATEWAY, {"session_id": wrong})
        assert answer.status_code == 422, wrong
        assert answer.json()["details"]["fields"][0]["field"] == "session_id"


async def test_tells_nobody_but_the_gateway(keys: Keys) -> None:
    person = await keys.register()
    body = {"session_id": str(new_id())}
    for caller in (person.identity, ANONYMOUS):
        assert (await keys.call("POST", PATH, caller, body)).status_code == 403
