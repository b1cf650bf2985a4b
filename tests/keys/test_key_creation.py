"""What a key is created with: addresses, rates, a format, and never more than its creator has."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kernel.http.access_tokens import AccessTokens
from kernel.http.api_key_format import well_formed
from kernel.service import Platform
from kernel.settings import WrongSettings, read_settings
from services.keys.settings import KeysSettings
from tests.keys.conftest import Keys, serving
from tests.keys.watching import entries, facts

CREATE: dict[str, Any] = {"name": "n", "scopes": ["keys:write"]}


@pytest.fixture
async def narrow_keys(
    platform: Platform, access_tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Keys]:
    """Where everybody has less than by default."""
    monkeypatch.setenv("RATE_LIMITS", "api=20/minute, rotation=1/hour")
    async with serving(platform, access_tokens, read_settings(KeysSettings)) as keys:
        yield keys


async def test_keeps_addresses_and_rates_in_one_spelling_and_tells_the_gateway(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(
        person.identity,
        allowed_ips=["::ffff:192.0.2.7", "192.0.2.7", "10.0.0.0/255.0.0.0"],
        rate_limits={"api": "050/60seconds", "upload": None},
    )
    assert created["allowed_ips"] == ["192.0.2.7", "10.0.0.0/8"]
    assert created["rate_limits"] == {"api": "50/minute"}
    told = await facts(keys, created["api_key"])
    assert told is not None
    assert told["allowed_ips"] == created["allowed_ips"]
    assert told["rate_limits"] == created["rate_limits"]


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        ("api", "101/minute"),
        ("api", "100/second"),
        ("api", "6000/hour"),
        ("generation", "11/minute"),
        ("upload", "11/minute"),
        ("download", "101/minute"),
    ],
)
async def test_refuses_a_rate_above_everybodys(keys: Keys, kind: str, rate: str) -> None:
    person = await keys.register()
    body = {**CREATE, "rate_limits": {kind: rate}}
    answer = await keys.call("POST", "/api/keys", person.identity, body)
    assert (answer.status_code, answer.json()["error"]) == (422, "exceeds_plan")
    assert answer.json()["details"] == {"field": f"rate_limits.{kind}"}
    assert await keys.count("keys_read.api_keys_v2") == 0


async def test_everybodys_rates_are_those_of_the_deployment(narrow_keys: Keys) -> None:
    person = await narrow_keys.register()
    for rate, status in (("21/minute", 422), ("20/minute", 201)):
        body = {**CREATE, "rate_limits": {"api": rate, "generation": "10/minute"}}
        answer = await narrow_keys.call("POST", "/api/keys", person.identity, body)
        assert answer.status_code == status, rate


@pytest.mark.parametrize(
    "text", ["api", "api=", "api=0/minute", "api=1/minute,api=2/minute", "x=1"]
)
def test_rates_that_are_none_refuse_to_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMITS", text)
    with pytest.raises(WrongSettings, match="RATE_LIMITS"):
        read_settings(KeysSettings)


OWN: dict[str, Any] = {
    "scopes": ["keys:write", "keys:read"],
    "expires_in_days": 10,
    "allowed_ips": ["192.0.2.0/24", "2001:db8::/32"],
    "rate_limits": {"api": "50/minute"},
}
MORE: list[tuple[str, str, object]] = [
    ("scopes", "scopes", ["storage:delete"]),
    ("expires_in_days", "expires_in_days", 11),
    ("expires_in_days", "expires_in_days", None),
    ("allowed_ips", "allowed_ips", []),
    ("allowed_ips", "allowed_ips", ["192.0.0.0/16"]),
    ("allowed_ips", "allowed_ips", ["192.0.2.7", "198.51.100.1"]),
    ("rate_limits.api", "rate_limits", {}),
    ("rate_limits.api", "rate_limits", {"api": "51/minute"}),
    ("rate_limits.api", "rate_limits", {"upload": "1/minute"}),
]


async def test_refuses_a_key_more_of_anything_than_the_key_that_asks(keys: Keys) -> None:
    person = await keys.register()
    parent = await keys.create_key(person.identity, **OWN)
    caller = person.with_key(parent["id"], "keys:write", "storage:delete")
    for named, field, value in MORE:
        body = {"name": "n", **OWN, field: value}
        answer = await keys.call("POST", "/api/keys", caller, body)
        assert (answer.status_code, answer.json()["error"]) == (403, "exceeds_own_key"), value
        assert answer.json()["details"] == {"field": named}
    assert await keys.count("keys_read.api_keys_v2") == 1
    assert await entries(keys, "create_key") == [
        (parent["id"], "succeeded"),
        *[("", "exceeds_own_key")] * len(MORE),
    ]


async def test_a_key_creates_one_that_equals_it_and_a_weaker_one(keys: Keys) -> None:
    person = await keys.register()
    parent = await keys.create_key(person.identity, **OWN)
    caller = person.with_key(parent["id"], "keys:write", "keys:read")
    weaker = {
        "allowed_ips": ["192.0.2.7", "2001:db8:1::/48"],
        "rate_limits": {"api": "1/minute", "upload": "1/minute"},
    }
    for asked in (OWN, {**OWN, **weaker}):
        child = await keys.create_key(caller, **asked)
        assert child["allowed_ips"] == asked["allowed_ips"]
        assert child["rate_limits"] == asked["rate_limits"]


async def test_makes_nanobanana_keys_and_stores_their_sha256_alone(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity, format="nb_live")
    api_key = created["api_key"]
    assert api_key.startswith("nb_live_")
    assert len(api_key) == 40
    assert well_formed(api_key)
    assert created["prefix"] == api_key[:12]
    async with keys.platform.database.connection() as connection:
        stored = await connection.fetch("SELECT * FROM keys_read.api_key_versions")
        data = await connection.fetchval("SELECT data FROM keys.events WHERE type = 'KeyCreated'")
    digest = hashlib.sha256(api_key.encode())
    assert [row["key_sha256"] for row in stored] == [digest.digest()]
    assert data["key_sha256"] == digest.hexdigest()
    assert api_key[12:] not in str([dict(row) for row in stored]) + str(data)


async def test_lists_the_keys_of_one_format(keys: Keys) -> None:
    person = await keys.register()
    made = {
        name: (await keys.create_key(person.identity, format=name))["id"]
        for name in ("sk_live", "nb_live")
    }
    for name, key_id in made.items():
        listed = await keys.call("GET", f"/api/keys?format={name}", person.identity)
        assert [item["id"] for item in listed.json()["keys"]] == [key_id]
    wrong = await keys.call("GET", "/api/keys?format=sk_test", person.identity)
    assert wrong.status_code == 422
    assert wrong.json()["details"]["fields"][0]["field"] == "format"


async def test_every_creation_is_in_the_log_once(keys: Keys) -> None:
    person = await keys.register()
    answers = [
        await keys.call("POST", "/api/keys", person.identity, CREATE, Idempotency_Key="once")
        for _ in range(2)
    ]
    assert await entries(keys, "create_key") == [(answers[0].json()["id"], "succeeded")]
