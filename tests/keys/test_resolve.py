"""What a key stands for, told to the gateway alone."""

from datetime import timedelta

from kernel.http.api_key_format import key_sha256
from kernel.identifiers import parsed
from kernel.testing import FakeClock
from tests.keys.conftest import ANONYMOUS, GATEWAY, Keys

PATH = "/internal/keys/resolve"


async def test_tells_the_gateway_what_a_key_stands_for(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, scopes=["keys:read"], expires_in_days=1)
    body = {"key_sha256": key_sha256(created["api_key"])}
    answer = await keys.call("POST", PATH, GATEWAY, body)
    told = answer.json()
    assert told.pop("account_id")
    assert told == {
        "key_id": str(parsed("key", created["id"])),
        "user_id": str(person.identity.user_id),
        "role": "user",
        "plan": "free",
        "scopes": ["keys:read"],
        "expires_at": created["expires_at"],
        "monthly_credit_limit_units": None,
        "version": 1,
        "valid_until": None,
        "allowed_ips": [],
        "rate_limits": {},
        "active": True,
    }


async def test_knows_no_revoked_key(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    await keys.call("POST", f"/api/keys/{created['id']}/revoke", person.identity)
    body = {"key_sha256": key_sha256(created["api_key"])}
    answer = await keys.call("POST", PATH, GATEWAY, body)
    assert (answer.status_code, answer.json()["error"]) == (404, "key_not_found")


async def test_knows_a_key_until_it_expires(keys: Keys, clock: FakeClock) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, expires_in_days=1)
    body = {"key_sha256": key_sha256(created["api_key"])}
    clock.turn(timedelta(days=1) - timedelta(microseconds=1))
    assert (await keys.call("POST", PATH, GATEWAY, body)).status_code == 200
    clock.turn(timedelta(microseconds=1))
    assert (await keys.call("POST", PATH, GATEWAY, body)).status_code == 404


async def test_knows_no_hash_of_anything_else(keys: Keys) -> None:
    answer = await keys.call("POST", PATH, GATEWAY, {"key_sha256": "0" * 64})
    assert (answer.status_code, answer.json()["error"]) == (404, "key_not_found")


async def test_refuses_what_is_no_hash(keys: Keys) -> None:
    for wrong in (None, "", "0" * 63, "G" * 64, "0" * 64 + "\n"):
        answer = await keys.call("POST", PATH, GATEWAY, {"key_sha256": wrong})
        assert answer.status_code == 422, wrong
        assert answer.json()["details"]["fields"][0]["field"] == "key_sha256"


async def test_tells_nobody_but_the_gateway(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    body = {"key_sha256": key_sha256(created["api_key"])}
    for caller in (person.identity, ANONYMOUS):
        assert (await keys.call("POST", PATH, caller, body)).status_code == 403
