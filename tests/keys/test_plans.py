"""A plan that credits has changed is the user's at once; an older word of it changes nothing."""

from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from uuid import UUID

import pytest

from contracts.credits import PlanChanged
from contracts.envelope import Envelope
from kernel.clock import new_id
from kernel.http.api_key_format import key_sha256
from kernel.inbox import Inbox
from kernel.migrations import migrate
from kernel.projections import rebuild, verify
from kernel.testing import envelope_of
from services.keys.domain import AGGREGATES
from services.keys.read_model import READ_MODEL
from tests.keys.conftest import GATEWAY, PASSWORD, Keys, Person

MIGRATIONS = Path(__file__).parents[2] / "services/keys/migrations"


@pytest.fixture
async def inbox(keys: Keys) -> Inbox:
    assert keys.service.inbox is not None
    await keys.service.inbox.maintain()
    return keys.service.inbox


def changed(user_id: UUID, plan: str, at: datetime) -> Envelope:
    return envelope_of(
        PlanChanged(
            account_id=new_id(), user_id=user_id, plan_before="free", plan=plan, changed_at=at
        )
    )


async def plan_of(keys: Keys, person: Person) -> str:
    return str((await keys.call("GET", "/auth/me", person.identity)).json()["data"]["plan"])


async def plan_of_key(keys: Keys, api_key: str) -> str:
    body = {"key_sha256": key_sha256(api_key)}
    return str((await keys.call("POST", "/internal/keys/resolve", GATEWAY, body)).json()["plan"])


async def plan_of_session(keys: Keys, access_token: str) -> str:
    body = {"session_id": str(keys.access_tokens.read(access_token).session_id)}
    answer = await keys.call("POST", "/internal/sessions/resolve", GATEWAY, body)
    return str(answer.json()["plan"])


async def test_the_user_their_keys_and_their_sessions_have_the_new_plan(
    keys: Keys, inbox: Inbox
) -> None:
    person, other = await keys.register(), await keys.register()
    api_key = (await keys.create_key(person.identity))["api_key"]
    token = (await keys.sign_in(person))["access_token"]
    await inbox.receive(changed(person.identity.user_id, "studio", keys.platform.clock.now()))
    assert await plan_of(keys, person) == "studio"
    assert await plan_of_key(keys, api_key) == "studio"
    assert await plan_of_session(keys, token) == "studio"
    again = (await keys.sign_in(person))["access_token"]
    assert keys.access_tokens.read(again).plan == "studio"
    assert await plan_of(keys, other) == "free"


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
async def test_the_latest_change_counts_in_whichever_order_they_are_heard(
    keys: Keys, inbox: Inbox, order: tuple[int, ...]
) -> None:
    person, now = await keys.register(), keys.platform.clock.now()
    changes = [
        changed(person.identity.user_id, plan, now + timedelta(seconds=nth))
        for nth, plan in enumerate(("studio", "pro", "free"))
    ]
    for nth in order:
        await inbox.receive(changes[nth])
    assert await plan_of(keys, person) == "free"
    assert await inbox.parked() == []


async def test_a_repeated_change_is_recorded_once(keys: Keys, inbox: Inbox) -> None:
    person, now = await keys.register(), keys.platform.clock.now()
    message = changed(person.identity.user_id, "studio", now)
    for one in (message, message, message.model_copy(update={"id": new_id()})):
        await inbox.receive(one)
    assert await keys.count("keys.events WHERE type = 'PlanChanged'") == 1


async def test_a_change_for_nobody_is_parked_and_one_for_an_erased_user_is_not(
    keys: Keys, inbox: Inbox
) -> None:
    person, now = await keys.register(), keys.platform.clock.now()
    answer = await keys.call("DELETE", "/auth/me", person.identity, {"password": PASSWORD})
    assert answer.status_code == 202
    await inbox.receive(changed(person.identity.user_id, "studio", now))
    assert await inbox.parked() == []
    await inbox.receive(changed(new_id(), "studio", now))
    (letter,) = await inbox.parked()
    assert letter["envelope"]["type"] == "PlanChanged"


async def test_rebuilding_keeps_the_plan(keys: Keys, inbox: Inbox) -> None:
    person = await keys.register()
    await inbox.receive(changed(person.identity.user_id, "studio", keys.platform.clock.now()))
    database = keys.platform.database
    assert await verify(database, "keys", AGGREGATES) == []
    await rebuild(database, "keys", READ_MODEL, AGGREGATES)
    assert await plan_of(keys, person) == "studio"


async def test_users_from_before_plans_changed_are_read_and_go_on(
    keys: Keys, inbox: Inbox, database_dsn: str
) -> None:
    person, database = await keys.register(), keys.platform.database
    async with database.connection() as connection:
        await connection.execute("UPDATE keys.streams SET state = state - 'plan_changed_at'")
        await connection.execute("UPDATE keys.alembic_version SET version_num = '0005'")
    assert await migrate(database_dsn, {"keys": MIGRATIONS}) == ["keys"]
    assert await verify(database, "keys", AGGREGATES) == []
    await inbox.receive(changed(person.identity.user_id, "studio", keys.platform.clock.now()))
    assert await plan_of(keys, person) == "studio"
