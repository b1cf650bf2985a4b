"""Who is signed in is asked of keys, as for API keys: what an access token says grows old."""

import asyncio
from datetime import timedelta
from uuid import UUID

import jwt
import pytest

from contracts.envelope import PublicEvent
from contracts.keys import SessionRevoked, UserDisabled, UserErased
from kernel.clock import new_id
from services.gateway.adapters.ring import KNOWN_FOR
from services.gateway.domain import ROLE_SCOPES
from tests.gateway.driving import SECRET, Answer, World, bearer

TASKS = "/api/v2/generation/tasks"
NOT_VALID = {"error": "invalid_token", "message": "The access token is not valid.", "details": {}}


def endings(world: World, token: str) -> list[PublicEvent]:
    now = world.clock.now()
    facts = world.session(token)
    session_id, user_id, account_id = (
        UUID(facts[name]) for name in ("session_id", "user_id", "account_id")
    )
    return [
        SessionRevoked(session_id=session_id, user_id=user_id, revoked_at=now),
        UserDisabled(user_id=user_id, account_id=account_id, disabled_at=now),
        UserErased(user_id=user_id, account_id=account_id, erased_at=now),
    ]


async def ask(world: World, token: str) -> Answer:
    return await world.ask("GET", TASKS, [bearer(token)])


def is_refused(answer: Answer) -> bool:
    return (
        answer.status == 401 and answer.json == NOT_VALID and bool(answer.all("www-authenticate"))
    )


async def test_keys_is_asked_once_for_half_a_minute(world: World) -> None:
    token = world.token()
    for _ in range(3):
        assert (await ask(world, token)).status == 200
    assert len(world.keys.asked) == 1
    world.clock.turn(KNOWN_FOR)
    await ask(world, token)
    assert len(world.keys.asked) == 2


@pytest.mark.parametrize("end", range(3))
async def test_an_ended_session_stops_at_once_like_any_other_bad_token(
    world: World, end: int
) -> None:
    token, other = world.token(), world.token()
    for one in (token, other):
        assert (await ask(world, one)).status == 200
    news = endings(world, token)[end]
    del world.keys.sessions[world.session(token)["session_id"]]
    await world.tell(news)
    assert is_refused(await ask(world, token))
    assert is_refused(await ask(world, token[:-8] + "AAAAAAAA"))
    assert (await ask(world, other)).status == 200
    assert len(world.keys.asked) == 3


async def test_a_session_that_ends_while_it_is_looked_up_is_not_let_in(world: World) -> None:
    token = world.token()
    news = endings(world, token)[0]
    world.keys.open.clear()
    asking = asyncio.create_task(ask(world, token))
    await world.keys.waiting.wait()
    del world.keys.sessions[world.session(token)["session_id"]]
    await world.tell(news)
    world.keys.open.set()
    assert is_refused(await asking)


async def test_one_session_of_a_person_ends_without_the_others(world: World) -> None:
    user_id = new_id()
    first, second = world.token(user_id=user_id), world.token(user_id=user_id)
    for token in (first, second):
        await ask(world, token)
    news = endings(world, first)[0]
    del world.keys.sessions[world.session(first)["session_id"]]
    await world.tell(news)
    assert is_refused(await ask(world, first))
    assert (await ask(world, second)).status == 200


async def test_role_plan_and_account_are_those_of_now(world: World) -> None:
    token = world.token("admin", plan="pro")
    account_id = str(new_id())
    world.session(token).update(role="moderator", plan="free", account_id=account_id)
    await ask(world, token)
    caller = world.caller(world.generation)
    assert (caller.role, caller.plan, str(caller.account_id)) == ("moderator", "free", account_id)
    assert caller.scopes == ROLE_SCOPES["moderator"]
    assert str(caller.session_id) == world.session(token)["session_id"]


async def test_a_session_ends_at_its_own_moment(world: World) -> None:
    token = world.token()
    world.session(token)["expires_at"] = (world.clock.now() + timedelta(seconds=5)).isoformat()
    assert (await ask(world, token)).status == 200
    world.clock.turn(timedelta(seconds=5))
    assert is_refused(await ask(world, token))


async def test_a_token_of_no_session_is_refused(world: World) -> None:
    unknown = world.token()
    world.keys.sessions.clear()
    anothers = world.token()
    world.session(anothers)["user_id"] = str(new_id())
    claims = jwt.decode(world.token(), options={"verify_signature": False})
    claims.pop("sid")
    without = jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"})
    for token in (unknown, anothers, without):
        assert is_refused(await ask(world, token))


async def test_sessions_that_cannot_be_checked_are_unavailable_not_refused(world: World) -> None:
    token = world.token()
    world.keys.broken = True
    answer = await ask(world, token)
    assert (answer.status, answer.code) == (503, "credentials_unavailable")
    world.keys.broken = False
    assert (await ask(world, token)).status == 200


async def test_a_session_is_no_key_and_a_key_no_session(world: World) -> None:
    token = world.token()
    await ask(world, token)
    assert world.keys.asked == [world.session(token)["session_id"]]
    assert world.caller(world.generation).key_id is None
