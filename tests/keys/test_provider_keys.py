"""Users' own keys of vendors: kept encrypted, bound to their user, told to services alone."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from kernel.clock import new_id
from kernel.testing import FakeClock
from services.keys.domain import Provider, Scope
from tests.keys.conftest import ANONYMOUS, GATEWAY, Keys, Person
from tests.keys.test_sign_ins import outcomes

PATH = "/api/keys/providers"
RESOLVE = "/internal/provider-keys/resolve"
API_KEY = "kie-0123456789abcdef-WXYZ"


async def set_key(
    keys: Keys, person: Person, api_key: object = API_KEY, provider: str = "kie"
) -> httpx.Response:
    return await keys.call("PUT", f"{PATH}/{provider}", person.identity, {"api_key": api_key})


async def resolve(keys: Keys, person: Person, provider: str = "kie") -> httpx.Response:
    asked = {"user_id": str(person.identity.user_id), "provider": provider}
    return await keys.call("POST", RESOLVE, GATEWAY, asked)


async def listed(keys: Keys, person: Person) -> list[tuple[str, str]]:
    answer = await keys.call("GET", PATH, person.identity)
    assert answer.status_code == 200
    return [(one["provider"], one["last_four"]) for one in answer.json()["provider_keys"]]


async def test_a_key_is_kept_told_to_services_and_shown_by_its_end_alone(
    keys: Keys, clock: FakeClock
) -> None:
    person = await keys.register()
    answer = await set_key(keys, person)
    assert (answer.status_code, answer.content) == (204, b"")
    shown = await keys.call("GET", PATH, person.identity)
    now = clock.now().isoformat().replace("+00:00", "Z")
    assert shown.json() == {
        "success": True,
        "provider_keys": [
            {"provider": "kie", "last_four": "WXYZ", "created_at": now, "updated_at": now}
        ],
    }
    assert API_KEY not in shown.text
    assert (await resolve(keys, person)).json() == {"api_key": API_KEY}
    assert (await resolve(keys, person, "google")).status_code == 404
    assert await outcomes(keys, person.identity.user_id, "set_provider_key") == ["succeeded"]


async def test_another_key_takes_the_place_of_the_one_before(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    await set_key(keys, person)
    clock.turn(timedelta(minutes=5))
    await set_key(keys, person, "another-0123456789")
    [one] = (await keys.call("GET", PATH, person.identity)).json()["provider_keys"]
    assert one["last_four"] == "6789"
    assert one["created_at"] < one["updated_at"]
    assert (await resolve(keys, person)).json() == {"api_key": "another-0123456789"}


async def test_every_provider_has_a_key_of_its_own_and_every_user_too(keys: Keys) -> None:
    ada, bob = await keys.register(), await keys.register()
    for nth, provider in enumerate(Provider):
        await set_key(keys, ada, f"0123456789abcdef-{nth}", provider)
    assert await listed(keys, ada) == sorted(
        (provider.value, f"ef-{nth}") for nth, provider in enumerate(Provider)
    )
    assert await listed(keys, bob) == []
    assert (await resolve(keys, bob)).status_code == 404


async def test_a_deleted_key_is_gone(keys: Keys) -> None:
    person = await keys.register()
    await set_key(keys, person)
    await set_key(keys, person, provider="google")
    assert (await keys.call("DELETE", f"{PATH}/kie", person.identity)).status_code == 204
    assert (await resolve(keys, person)).status_code == 404
    assert [provider for provider, _ in await listed(keys, person)] == ["google"]
    again = await keys.call("DELETE", f"{PATH}/kie", person.identity)
    assert (again.status_code, again.json()["error"]) == (404, "provider_key_not_found")
    assert await outcomes(keys, person.identity.user_id, "delete_provider_key") == [
        "succeeded",
        "provider_key_not_found",
    ]


async def test_of_many_deletions_at_once_one_finds_the_key(keys: Keys) -> None:
    person = await keys.register()
    await set_key(keys, person)
    answers = await asyncio.gather(
        *(keys.call("DELETE", f"{PATH}/kie", person.identity) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        "",
        "x" * 15,
        "x" * 513,
        "0123456789 abcdef",
        "0123456789abcdef\n",
        "0123456789abcdef\x00",
        "0123456789abcdef\x7f",
        "0123456789abcdef\u00e9",
    ],
    ids=repr,
)
async def test_refuses_what_is_no_key_naming_the_field_and_repeating_nothing(
    keys: Keys, wrong: object
) -> None:
    person = await keys.register()
    answer = await set_key(keys, person, wrong)
    assert answer.status_code == 422
    assert answer.json()["details"]["fields"][0]["field"] == "api_key"
    if isinstance(wrong, str) and wrong:
        assert wrong not in answer.text
    assert await listed(keys, person) == []


async def test_takes_the_shortest_and_the_longest_key(keys: Keys) -> None:
    person = await keys.register()
    for length in (16, 512):
        assert (await set_key(keys, person, "!" * length)).status_code == 204


async def test_knows_no_other_provider_and_no_other_field(keys: Keys) -> None:
    person = await keys.register()
    for method in ("PUT", "DELETE"):
        answer = await keys.call(method, f"{PATH}/openai", person.identity, {"api_key": API_KEY})
        assert answer.status_code == 422
        assert answer.json()["details"]["fields"][0]["field"] == "provider"
    body = {"api_key": API_KEY, "colour": "red"}
    answer = await keys.call("PUT", f"{PATH}/kie", person.identity, body)
    assert answer.json()["details"]["fields"][0]["field"] == "colour"
    assert API_KEY not in answer.text


async def test_is_for_signed_in_people_and_no_api_key_does(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, scopes=["keys:read", "keys:write"])
    caller = person.with_key(created["id"], Scope.KEYS_READ, Scope.KEYS_WRITE)
    for method, path in (("GET", PATH), ("PUT", f"{PATH}/kie"), ("DELETE", f"{PATH}/kie")):
        body = {"api_key": API_KEY} if method == "PUT" else None
        assert (await keys.call(method, path, caller, body)).status_code == 403
    assert (await keys.call("PUT", f"{PATH}/kie", ANONYMOUS, {"api_key": API_KEY})).status_code == (
        403
    )
    assert await keys.count("keys.provider_keys") == 0
    assert await outcomes(keys, person.identity.user_id, "set_provider_key") == ["access_denied"]


async def test_is_told_to_services_alone(keys: Keys) -> None:
    person = await keys.register()
    await set_key(keys, person)
    asked = {"user_id": str(person.identity.user_id), "provider": "kie"}
    admin = await keys.admin()
    for caller in (person.identity, admin.identity, ANONYMOUS):
        answer = await keys.call("POST", RESOLVE, caller, asked)
        assert answer.status_code == 403
        assert API_KEY not in answer.text
    assert (await keys.call("POST", RESOLVE, None, asked)).status_code == 401
    nobody = await keys.call("POST", RESOLVE, GATEWAY, {**asked, "user_id": str(new_id())})
    assert (nobody.status_code, nobody.json()["error"]) == (404, "provider_key_not_found")


async def test_no_row_opens_for_another_user_or_provider(keys: Keys) -> None:
    ada, bob = await keys.register(), await keys.register()
    await set_key(keys, ada)
    await set_key(keys, bob, "0123456789abcdef-of-bob")
    await set_key(keys, bob, "0123456789abcdef-of-bob", "google")
    async with keys.platform.database.connection() as connection:
        stored = await connection.fetchval(
            "SELECT value FROM keys.provider_keys WHERE user_id = $1", ada.identity.user_id
        )
        assert API_KEY.encode() not in stored
        await connection.execute(
            "UPDATE keys.provider_keys SET value = $2 WHERE user_id = $1",
            *(bob.identity.user_id, stored),
        )
    assert (await resolve(keys, bob)).status_code == 404
    assert (await resolve(keys, bob, "google")).status_code == 404
    assert await listed(keys, bob) == []
    assert (await resolve(keys, ada)).status_code == 200


async def test_no_event_and_no_log_line_has_a_key_in_it(
    keys: Keys, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    person = await keys.register()
    await set_key(keys, person)
    await set_key(keys, person, "short")
    await resolve(keys, person)
    told = capsys.readouterr()
    assert API_KEY not in told.out + told.err + caplog.text
    async with keys.platform.database.connection() as connection:
        for table in ("events", "streams", "outbox", "idempotency"):
            rows = await connection.fetch(f"SELECT row.*::text FROM keys.{table} AS row")
            assert API_KEY not in str([tuple(row) for row in rows]), table
