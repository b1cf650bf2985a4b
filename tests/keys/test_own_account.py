"""Changing and erasing one's own account."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from kernel.http.api_key_format import key_sha256
from kernel.identifiers import parsed
from services.keys.adapters.guesses import FAILURES_MAX
from tests.keys.conftest import ANONYMOUS, GATEWAY, PASSWORD, Keys, Person
from tests.keys.test_provider_keys import set_key
from tests.keys.test_sign_ins import login, outcomes, refresh

FORGOTTEN = (
    "users",
    "sessions",
    "mail_tokens",
    "mails",
    "personal",
    "provider_keys",
    "key_usage",
)


async def update(keys: Keys, person: Person, **changes: Any) -> httpx.Response:
    return await keys.call("PATCH", "/auth/me", person.identity, changes)


async def erase(keys: Keys, person: Person, **body: Any) -> httpx.Response:
    return await keys.call("DELETE", "/auth/me", person.identity, body or {"password": PASSWORD})


async def use(keys: Keys, key_id: str) -> None:
    """Somebody calls with the key, and a gateway says so."""
    told = {
        "key_id": str(parsed("key", key_id)),
        "address": "192.0.2.7",
        "agent": "curl/8",
        "requests": 1,
        "last_used_at": keys.platform.clock.now().isoformat(),
    }
    answer = await keys.call("POST", "/internal/keys/used", GATEWAY, {"uses": [told]})
    assert answer.status_code == 204


async def test_changes_what_is_given_and_leaves_the_rest(keys: Keys) -> None:
    person = await keys.register(full_name="Ada L")
    answer = await update(keys, person, username="Ada_L", phone="+491701234567")
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert (data["username"], data["phone"], data["full_name"]) == (
        "Ada_L",
        "+491701234567",
        "Ada L",
    )
    await update(keys, person, full_name="Ada Lovelace", phone=None)
    assert (await update(keys, person)).json()["data"] == {
        **data,
        "phone": None,
        "full_name": "Ada Lovelace",
    }
    assert (await keys.call("GET", "/auth/me", person.identity)).json()["data"]["phone"] is None
    assert await outcomes(keys, person.identity.user_id, "update_user") == ["succeeded"] * 2


async def test_a_username_is_one_persons_whatever_its_case(keys: Keys) -> None:
    ada, bob = await keys.register(), await keys.register()
    assert (await update(keys, ada, username="Lovelace")).status_code == 200
    taken = await update(keys, bob, username="lovelace", phone="+491701234567")
    assert (taken.status_code, taken.json()["error"]) == (409, "username_taken")
    me = (await keys.call("GET", "/auth/me", bob.identity)).json()["data"]
    assert (me["username"], me["phone"]) == (None, None)
    assert (await update(keys, ada, username="LOVELACE")).status_code == 200
    assert (await update(keys, ada, username=None)).status_code == 200
    assert (await update(keys, bob, username="lovelace")).status_code == 200
    assert await outcomes(keys, bob.identity.user_id, "update_user") == [
        "username_taken",
        "succeeded",
    ]


async def test_one_of_many_who_want_a_username_at_once_gets_it(keys: Keys) -> None:
    people = [await keys.register() for _ in range(5)]
    answers = await asyncio.gather(*(update(keys, one, username="lovelace") for one in people))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


WRONG: list[tuple[str, object]] = [
    ("username", ""),
    ("username", "ab"),
    ("username", "a" * 31),
    ("username", ".ada"),
    ("username", "ada l"),
    ("username", "ada\n"),
    ("username", "ädä"),
    ("username", 7),
    ("phone", "0170123456"),
    ("phone", "+0170123456"),
    ("phone", "+4917"),
    ("phone", "+49170123456789012"),
    ("phone", "+49 170 1234567"),
    ("phone", 491701234567),
    ("full_name", " "),
    ("full_name", "x" * 201),
    ("email", "other@example.com"),
    ("role", "admin"),
    ("is_verified", True),
]


async def test_names_the_field_that_is_wrong_and_changes_nothing(keys: Keys) -> None:
    person = await keys.register()
    before = (await keys.call("GET", "/auth/me", person.identity)).json()
    for field, value in WRONG:
        answer = await update(keys, person, **{"full_name": "Ada", field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["details"]["fields"][0]["field"] == field, value
    assert (await keys.call("GET", "/auth/me", person.identity)).json() == before


async def test_erasing_forgets_the_person_and_keeps_their_history(keys: Keys) -> None:
    person = await keys.register("ada@example.com", "Ada L")
    await update(keys, person, username="ada_l")
    session = await keys.sign_in(person)
    created = await keys.create_key(person.identity)
    await use(keys, created["id"])
    await set_key(keys, person)
    await keys.call("POST", "/api/keys/mfa/totp/setup", person.identity)
    await keys.call("POST", "/auth/password/forgot", ANONYMOUS, {"email": person.email})
    events = await keys.count("keys.events")
    assert (await erase(keys, person)).status_code == 202
    assert await keys.count("keys.events") > events, "nothing of history is lost"
    for table in FORGOTTEN:
        assert await keys.count(f"keys.{table}") == 0, table
    assert (await keys.call("GET", "/auth/me", person.identity)).status_code == 401
    assert (await update(keys, person, full_name="x")).status_code == 401
    assert (await erase(keys, person)).status_code == 401
    assert (await login(keys, person.email)).status_code == 401
    assert (await refresh(keys, session["refresh_token"])).status_code == 401
    key = {"key_sha256": key_sha256(created["api_key"])}
    assert (await keys.call("POST", "/internal/keys/resolve", GATEWAY, key)).status_code == 404
    assert await outcomes(keys, person.identity.user_id, "erase_user") == ["succeeded"]
    assert await keys.mailed() == []


async def test_keeps_nothing_of_whoever_is_still_on_their_way_while_they_are_erased(
    keys: Keys,
) -> None:
    person = await keys.register()
    session = await keys.sign_in(person)
    claims = keys.access_tokens.read(session["access_token"])
    late = replace(person.identity, session_id=claims.session_id)
    await erase(keys, person)
    assert (await keys.call("POST", "/auth/logout", late)).status_code == 204
    assert await outcomes(keys, person.identity.user_id, "sign_out") == ["succeeded"]
    assert await keys.count("keys.personal") == 0, "not even from where that came"


async def test_keeps_no_secret_and_no_client_of_whoever_comes_after_they_were_erased(
    keys: Keys,
) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    await erase(keys, person)
    assert (await set_key(keys, person)).status_code == 403
    late = await keys.call("POST", "/api/keys/mfa/totp/setup", person.identity)
    assert late.status_code == 403
    await use(keys, created["id"])
    for table in FORGOTTEN:
        assert await keys.count(f"keys.{table}") == 0, table


async def test_an_address_and_a_username_are_free_again_after_an_erasure(keys: Keys) -> None:
    person = await keys.register("ada@example.com")
    await update(keys, person, username="ada_l")
    await erase(keys, person)
    again = await keys.register("ada@example.com")
    assert again.identity.user_id != person.identity.user_id
    assert (await update(keys, again, username="ada_l")).status_code == 200
    assert (await login(keys, "ada@example.com")).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": "wrong password"}, "password"),
        ({"confirm": "ada@example.com"}, "password"),
        ({"password": None}, "password"),
    ],
    ids=str,
)
async def test_erases_nobody_without_their_password(
    keys: Keys, body: dict[str, Any], field: str
) -> None:
    person = await keys.register("ada@example.com")
    answer = await erase(keys, person, **body)
    assert (answer.status_code, answer.json()["details"]) == (422, {"field": field})
    assert (await login(keys, person.email)).status_code == 200
    refused = await outcomes(keys, person.identity.user_id, "erase_user")
    assert refused == [answer.json()["error"]]


async def test_names_the_field_of_a_malformed_erasure(keys: Keys) -> None:
    person = await keys.register()
    for field, value in (("password", ""), ("password", 7), ("confirm", "ada"), ("sure", True)):
        answer = await erase(keys, person, **{field: value})
        assert answer.status_code == 422, field
        assert answer.json()["details"]["fields"][0]["field"] == field


async def test_wrong_passwords_of_an_erasure_count_as_failed_sign_ins(keys: Keys) -> None:
    person = await keys.register()
    for _ in range(FAILURES_MAX):
        assert (await erase(keys, person, password="wrong password")).status_code == 422
    for answer in (await erase(keys, person), await login(keys, person.email)):
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_attempts")


async def test_who_has_no_password_confirms_by_their_own_address(keys: Keys) -> None:
    person = await keys.register("ada@example.com")
    async with keys.platform.database.connection() as connection:
        await connection.execute("UPDATE keys.users SET password_hash = NULL")
    for body in ({"confirm": "bob@example.com"}, {"password": PASSWORD}):
        answer = await erase(keys, person, **body)
        assert (answer.status_code, answer.json()["details"]) == (422, {"field": "confirm"}), body
    assert (await login(keys, person.email)).status_code == 401, "no password is right"
    assert (await erase(keys, person, confirm=" ADA@example.com")).status_code == 202


async def test_of_many_erasures_at_once_one_is_recorded(keys: Keys) -> None:
    person = await keys.register()
    answers = await asyncio.gather(*(erase(keys, person) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {202, 401, 404, 422}
    assert sum(answer.status_code == 202 for answer in answers) == 1
    assert await keys.count("keys.events WHERE type = 'UserErased'") == 1
