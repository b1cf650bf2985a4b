"""Signing in, staying in, signing out; an unknown address costs what a known one does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from kernel.clock import new_id
from kernel.http import Identity
from kernel.sql import Connection, Database
from kernel.testing import FakeClock
from services.keys.adapters.guesses import FAILURES_MAX
from services.keys.app import create_service
from services.keys.domain.users import LIVE_SESSIONS_MAX
from services.keys.settings import KeysSettings
from tests.keys.conftest import ANONYMOUS, PASSWORD, Keys, Person


async def login(keys: Keys, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    body = {"email": email, "password": password}
    return await keys.call("POST", "/auth/login", ANONYMOUS, body, **headers)


async def refresh(keys: Keys, refresh_token: str) -> httpx.Response:
    return await keys.call("POST", "/auth/refresh", ANONYMOUS, {"refresh_token": refresh_token})


def signed_in(keys: Keys, person: Person, session: dict[str, Any]) -> Identity:
    """Who the gateway says is calling with the session's access token."""
    claims = keys.access_tokens.read(session["access_token"])
    return replace(person.identity, session_id=claims.session_id)


async def outcomes(keys: Keys, user_id: UUID, action: str) -> list[str]:
    """What the user's audit log says of each such attempt, the oldest first."""
    async with keys.platform.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT outcome FROM keys_read.key_audit_logs WHERE user_id = $1 AND action = $2"
            " ORDER BY sequence",
            user_id,
            action,
        )
    return [row["outcome"] for row in rows]


async def test_refreshes_with_a_token_that_the_next_one_replaces(keys: Keys) -> None:
    person = await keys.register()
    first = await keys.sign_in(person)
    answer = await refresh(keys, first["refresh_token"])
    assert answer.status_code == 200
    body = answer.json()
    second = body["data"]
    assert body.keys() == {"success", "message", "data"}
    assert second.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert second["refresh_token"] != first["refresh_token"]
    before, after = (keys.access_tokens.read(one["access_token"]) for one in (first, second))
    assert after == before
    assert (await refresh(keys, second["refresh_token"])).status_code == 200
    logged = await outcomes(keys, person.identity.user_id, "refresh_session")
    assert logged == ["succeeded", "succeeded"]


async def test_a_token_that_is_used_again_ends_its_session_and_no_other(keys: Keys) -> None:
    person = await keys.register()
    first, other = await keys.sign_in(person), await keys.sign_in(person)
    second = (await refresh(keys, first["refresh_token"])).json()["data"]
    again = await refresh(keys, first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (401, "invalid_refresh_token")
    assert (await refresh(keys, second["refresh_token"])).status_code == 401
    assert (await refresh(keys, other["refresh_token"])).status_code == 200
    logged = await outcomes(keys, person.identity.user_id, "refresh_session")
    assert logged == ["succeeded", "refresh_token_reused", "succeeded"]
    assert await keys.count("keys.events WHERE type = 'SessionRevoked'") == 1


async def test_of_many_refreshes_at_once_one_wins_and_the_session_ends(keys: Keys) -> None:
    person = await keys.register()
    session = await keys.sign_in(person)
    answers = await asyncio.gather(*(refresh(keys, session["refresh_token"]) for _ in range(20)))
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert {answer.status_code for answer in answers} == {200, 401}
    assert (await refresh(keys, won[0].json()["data"]["refresh_token"])).status_code == 401


async def test_refuses_what_is_no_refresh_token_of_ours_and_ends_nothing(keys: Keys) -> None:
    person = await keys.register()
    good = (await keys.sign_in(person))["refresh_token"]
    for wrong in (
        "rt_",
        "x",
        good[3:],
        f"sk_{good[3:]}",
        f"rt_{'A' * 64}",
        good[:-1],
        f"{good}=",
        "rt_" + "é" * 64,
        good.swapcase(),
    ):
        answer = await refresh(keys, wrong)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_refresh_token"), wrong
    assert (await refresh(keys, good)).status_code == 200


async def test_names_the_field_of_a_malformed_refresh(keys: Keys) -> None:
    for wrong in (
        {},
        {"refresh_token": None},
        {"refresh_token": ""},
        {"refresh_token": 7},
        {"refresh_token": "x" * 201},
    ):
        answer = await keys.call("POST", "/auth/refresh", ANONYMOUS, wrong)
        assert answer.status_code == 422, wrong
        assert answer.json()["details"]["fields"][0]["field"] == "refresh_token", wrong


async def test_a_session_ends_when_its_days_are_over_however_often_it_was_refreshed(
    keys: Keys, clock: FakeClock
) -> None:
    session = await keys.sign_in(await keys.register())
    clock.turn(timedelta(days=29))
    session = (await refresh(keys, session["refresh_token"])).json()["data"]
    clock.turn(timedelta(days=1) - timedelta(microseconds=1))
    session = (await refresh(keys, session["refresh_token"])).json()["data"]
    clock.turn(timedelta(microseconds=1))
    assert (await refresh(keys, session["refresh_token"])).status_code == 401


async def test_signing_out_ends_this_session_alone_and_can_be_repeated(keys: Keys) -> None:
    person = await keys.register()
    here, there = await keys.sign_in(person), await keys.sign_in(person)
    caller = signed_in(keys, person, here)
    for _ in range(2):
        answer = await keys.call("POST", "/auth/logout", caller)
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await refresh(keys, here["refresh_token"])).status_code == 401
    assert (await refresh(keys, there["refresh_token"])).status_code == 200
    assert await keys.count("keys.events WHERE type = 'SessionRevoked'") == 1
    assert await outcomes(keys, caller.user_id, "sign_out") == ["succeeded", "succeeded"]


async def test_signs_nobody_out_who_came_by_no_session(keys: Keys) -> None:
    person = await keys.register()
    assert (await keys.call("POST", "/auth/logout", person.identity)).status_code == 401


async def test_the_oldest_session_makes_room_for_one_too_many(keys: Keys) -> None:
    person = await keys.register()
    sessions = [await keys.sign_in(person) for _ in range(LIVE_SESSIONS_MAX + 1)]
    assert await keys.count("keys.sessions") == LIVE_SESSIONS_MAX
    assert (await refresh(keys, sessions[0]["refresh_token"])).status_code == 401
    assert (await refresh(keys, sessions[1]["refresh_token"])).status_code == 200


async def test_many_sign_ins_at_once_all_begin_a_session(keys: Keys) -> None:
    person = await keys.register()
    answers = await asyncio.gather(*(login(keys, person.email) for _ in range(FAILURES_MAX)))
    assert [answer.status_code for answer in answers] == [200] * FAILURES_MAX
    assert await keys.count("keys.sessions") == FAILURES_MAX


class _Watched(Database):
    """Notes each statement that is sent."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.sent: list[str] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            with connection.query_logger(lambda record: self.sent.append(record.query)):
                yield connection
                await asyncio.sleep(0)  # asyncpg tells soon, not at once


@pytest.fixture
async def watched(keys: Keys) -> tuple[Keys, _Watched]:
    """The same keys, asked over connections that are watched."""
    database = _Watched(keys.platform.database._pool)
    platform = replace(keys.platform, database=database)
    service = create_service(KeysSettings(), platform, keys.access_tokens)
    assert service.app is not None
    client = httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://keys")
    return replace(keys, service=service, platform=platform, client=client), database


@pytest.mark.parametrize("path", ["/auth/login", "/auth/password/forgot"])
async def test_the_same_statements_run_for_a_known_and_an_unknown_address(
    watched: tuple[Keys, _Watched], path: str
) -> None:
    keys, database = watched
    person = await keys.register()
    emails = [person.email, "nobody@example.com", person.email, "nobody@example.com"]
    ran, answers = [], []
    for email in emails:
        body = {"email": email} | ({"password": "wrong"} if path == "/auth/login" else {})
        database.sent.clear()
        answer = await keys.call("POST", path, ANONYMOUS, body)
        answers.append((answer.status_code, answer.content))
        ran.append(list(database.sent))
    assert len(ran[0]) >= 4
    assert ran[0] == ran[1] == ran[2] == ran[3]
    assert len(set(answers)) == 1


async def test_a_sign_in_that_a_reset_overtakes_begins_no_session(keys: Keys) -> None:
    person = await keys.register()
    await keys.call("POST", "/auth/password/forgot", ANONYMOUS, {"email": person.email})
    token = (await keys.mailed())[-1].words.partition("token=")[2].split()[0]
    body = {"token": token, "password": "another password"}
    results = await asyncio.gather(
        keys.call("POST", "/auth/password/reset", ANONYMOUS, body),
        *(login(keys, person.email) for _ in range(5)),
    )
    assert results[0].status_code == 200
    assert await keys.count("keys.sessions") == 0
    assert {answer.status_code for answer in results[1:]} <= {200, 401}


async def test_enters_an_unknown_address_in_a_log_that_is_nobodys(keys: Keys) -> None:
    await login(keys, f"{new_id().hex}@example.com")
    async with keys.platform.database.connection() as connection:
        rows = await connection.fetch("SELECT user_id, outcome FROM keys_read.key_audit_logs")
    (row,) = rows
    assert row["user_id"].int < 256
    assert row["outcome"] == "invalid_credentials"
