"""Read models are what the events say, and what is written holds no secret."""

import logging
from typing import Any

import pytest
from structlog.testing import capture_logs

from kernel.projections import rebuild, verify
from services.keys.domain import AGGREGATES
from services.keys.read_model import METADATA, READ_MODEL
from tests.keys.conftest import ANONYMOUS, PASSWORD, Keys


async def rows(keys: Keys) -> dict[str, list[dict[str, Any]]]:
    """Every read model's rows, in the order of their keys."""
    found = {}
    async with keys.platform.database.connection() as connection:
        for table in METADATA.sorted_tables:
            columns = ", ".join(column.name for column in table.primary_key)
            records = await connection.fetch(f"SELECT * FROM {table} ORDER BY {columns}")
            found[table.name] = [dict(record) for record in records]
    return found


async def lived(keys: Keys) -> None:
    """Two users, four keys: one rotated twice, one revoked, one deleted."""
    ada, bob = await keys.register(), await keys.register()
    rotated = await keys.create_key(ada.identity, expires_in_days=7)
    for _ in range(2):
        await keys.call("POST", f"/api/keys/{rotated['id']}/rotate", ada.identity)
    deleted = await keys.create_key(bob.identity, rate_limits={"api": "9/minute"})
    await keys.call("DELETE", f"/api/keys/{deleted['id']}", bob.identity)
    await keys.create_key(bob.identity, allowed_ips=["192.0.2.1"])
    created = await keys.create_key(ada.identity)
    await keys.call("POST", f"/api/keys/{created['id']}/revoke", ada.identity)


async def test_rebuilding_gives_the_same_rows(trusting_keys: Keys) -> None:
    keys = trusting_keys
    await lived(keys)
    before = await rows(keys)
    async with keys.platform.database.connection() as connection:
        await connection.execute("UPDATE keys_read.api_keys_v2 SET is_active = true, name = 'x'")
    assert await rebuild(
        keys.platform.database, "keys", READ_MODEL, AGGREGATES
    ) == await keys.count("keys.events")
    told = await keys.count("keys.events WHERE type LIKE 'Key%'")
    assert told == 4 + 2 + 1 + 1
    assert await rows(keys) == before
    assert [len(found) for found in before.values()] != [0] * len(before)


async def test_every_head_is_the_fold_of_its_events(trusting_keys: Keys) -> None:
    await lived(trusting_keys)
    assert await verify(trusting_keys.platform.database, "keys", AGGREGATES) == []


async def test_writes_neither_password_nor_key_nor_address_in_the_clear(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    email, name = "canary-address@example.com", "Canary Name"
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logged:
        person = await keys.register(email, name)
        body = {"email": email, "password": PASSWORD}
        login = await keys.call("POST", "/auth/login", ANONYMOUS, body)
        wrong = {"email": email, "password": PASSWORD + "x"}
        await keys.call("POST", "/auth/login", ANONYMOUS, wrong)
        await keys.call("POST", "/auth/register", ANONYMOUS, {**body, "surplus": 1})
        await keys.call("POST", "/auth/register", ANONYMOUS, body)
        created = await keys.create_key(person.identity)
        refresh = {"refresh_token": login.json()["data"]["refresh_token"]}
        refreshed = await keys.call("POST", "/auth/refresh", ANONYMOUS, refresh)
        await keys.call("POST", "/auth/password/forgot", ANONYMOUS, {"email": email})
        changes = {"username": "canary_user", "phone": "+491701234567"}
        await keys.call("PATCH", "/auth/me", person.identity, changes)
        links = [mail.words.partition("token=")[2].split()[0] for mail in await keys.mailed()]
    assert len(links) == 2
    stored = await everything_stored(keys)
    assert "UserRegistered" in stored
    assert len(logged) >= 6
    written = stored + str(logged) + caplog.text
    secrets = [email, name, PASSWORD, created["api_key"], login.json()["data"]["access_token"]]
    secrets += [*refresh.values(), refreshed.json()["data"]["refresh_token"]]
    secrets += [*links, *changes.values()]
    assert [secret for secret in secrets if secret in written] == []


async def everything_stored(keys: Keys) -> str:
    """Every row of every table of keys, as PostgreSQL writes it; bytes as text too."""
    texts: list[str] = []
    async with keys.platform.database.connection() as connection:
        tables = await connection.fetch(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
            " WHERE table_schema IN ('keys', 'keys_read')"
        )
        for table in tables:
            found = await connection.fetch(f"SELECT * FROM {table['name']}")
            texts.extend(str(dict(row)) for row in found)
    return "\n".join(texts)
