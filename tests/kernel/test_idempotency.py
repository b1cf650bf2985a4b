"""Idempotency-Key: the first answer again, for a day, whatever died in between."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from kernel.errors import Error, Invalid, Rejected
from kernel.event_store import EventStore
from kernel.http import Attempt, Idempotency, Replay, Resumed, create_app, idempotency_key
from kernel.http.idempotency import IN_PROGRESS_FOR, KEPT_FOR
from kernel.http.identity import InternalTokens
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.kernel.totals import ADDING, SCHEMA, TOTAL, Add, count

FIRST = Attempt("user-1", "POST /things", "key-1", hashlib.sha256(b"{}").digest())
ANSWER = {"id": "thing-1"}
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def store(database: Database, clock: FakeClock) -> EventStore:
    return EventStore(database, SCHEMA, [TOTAL], clock=clock)


@pytest.fixture
def idempotency(database: Database, clock: FakeClock) -> Idempotency:
    return Idempotency(database, SCHEMA, clock)


async def act(
    store: EventStore, idempotency: Idempotency, attempt: Attempt | None, resource: str = "thing-1"
) -> None:
    """The effect, with its claim."""

    async def work(unit: Unit) -> None:
        await idempotency.claim(unit, attempt, resource)
        await unit.decide(ADDING, "total-1", Add(1))

    await store.transact(work)


async def effects(store: EventStore) -> int:
    state, _ = await store.read(TOTAL, "total-1")
    return state.amount


async def test_a_repeat_gets_the_first_answer(store: EventStore, idempotency: Idempotency) -> None:
    assert await idempotency.earlier(FIRST) is None
    await act(store, idempotency, FIRST)
    await idempotency.answered(FIRST, 201, ANSWER)
    assert await idempotency.earlier(FIRST) == Replay(201, ANSWER)


async def test_the_first_answer_stays(store: EventStore, idempotency: Idempotency) -> None:
    await act(store, idempotency, FIRST)
    await idempotency.answered(FIRST, 201, ANSWER)
    await idempotency.answered(FIRST, 500, {})
    await idempotency.forget(FIRST, "thing-1")
    assert await idempotency.earlier(FIRST) == Replay(201, ANSWER)


async def test_the_key_with_another_body_is_refused(
    store: EventStore, idempotency: Idempotency
) -> None:
    await act(store, idempotency, FIRST)
    other = replace(FIRST, body_sha256=hashlib.sha256(b"other").digest())
    with pytest.raises(Invalid) as refused:
        await idempotency.earlier(other)
    assert refused.value.code == "idempotency_mismatch"
    with pytest.raises(Invalid):
        await act(store, idempotency, other)
    assert await effects(store) == 1


async def test_a_repeat_while_the_first_runs_is_told_to_wait(
    store: EventStore, idempotency: Idempotency, clock: FakeClock
) -> None:
    await act(store, idempotency, FIRST)
    clock.turn(IN_PROGRESS_FOR - MOMENT)
    with pytest.raises(Rejected) as refused:
        await idempotency.earlier(FIRST)
    assert (refused.value.code, refused.value.retry_after_s) == ("idempotency_in_progress", 1)


async def test_a_repeat_after_a_death_finds_what_came_of_it(
    store: EventStore, idempotency: Idempotency, clock: FakeClock
) -> None:
    await act(store, idempotency, FIRST, "thing-7")
    clock.turn(IN_PROGRESS_FOR)
    assert await idempotency.earlier(FIRST) == Resumed("thing-7")
    await idempotency.answered(FIRST, 201, ANSWER)
    assert await idempotency.earlier(FIRST) == Replay(201, ANSWER)


async def test_a_claim_whose_effect_did_not_commit_is_none(
    store: EventStore, idempotency: Idempotency
) -> None:
    async def work(unit: Unit) -> None:
        await idempotency.claim(unit, FIRST, "thing-1")
        await unit.decide(ADDING, "total-1", Add(1, total_max=0))

    with pytest.raises(Rejected):
        await store.transact(work)
    assert await idempotency.earlier(FIRST) is None


async def test_a_forgotten_key_may_be_tried_anew(
    store: EventStore, idempotency: Idempotency
) -> None:
    await act(store, idempotency, FIRST)
    await idempotency.forget(FIRST, "thing-1")
    assert await idempotency.earlier(FIRST) is None
    await act(store, idempotency, FIRST)
    assert await effects(store) == 2


async def test_who_came_too_late_does_not_give_back_the_key_of_the_first(
    store: EventStore, idempotency: Idempotency
) -> None:
    await act(store, idempotency, FIRST)
    await idempotency.forget(FIRST, "thing-2")
    with pytest.raises(Rejected):
        await idempotency.earlier(FIRST)


async def test_a_key_is_free_again_after_a_day(
    store: EventStore, idempotency: Idempotency, clock: FakeClock
) -> None:
    await act(store, idempotency, FIRST)
    await idempotency.answered(FIRST, 201, ANSWER)
    clock.turn(KEPT_FOR)
    assert await idempotency.earlier(FIRST) == Replay(201, ANSWER)
    clock.turn(MOMENT)
    assert await idempotency.earlier(FIRST) is None
    await act(store, idempotency, replace(FIRST, body_sha256=b"another"))
    assert await effects(store) == 2


async def test_the_sweep_deletes_what_is_old_and_nothing_else(
    store: EventStore, idempotency: Idempotency, clock: FakeClock
) -> None:
    await act(store, idempotency, FIRST)
    clock.turn(KEPT_FOR + MOMENT)
    await act(store, idempotency, replace(FIRST, key="key-2"))
    assert await idempotency.sweep() == 1
    assert await idempotency.sweep() == 0
    assert await count(store.database, "idempotency") == 1


async def test_of_many_at_once_one_has_its_effect(
    store: EventStore, idempotency: Idempotency
) -> None:
    answers = await asyncio.gather(
        *(act(store, idempotency, FIRST, f"thing-{n}") for n in range(8)), return_exceptions=True
    )
    assert answers.count(None) == 1
    codes = {answer.code for answer in answers if isinstance(answer, Error)}
    assert codes == {"idempotency_in_progress"}
    assert await effects(store) == 1


@pytest.mark.parametrize("change", [{"principal": "user-2"}, {"route": "POST /others"}])
async def test_a_key_is_one_principals_on_one_route(
    store: EventStore, idempotency: Idempotency, change: dict[str, str]
) -> None:
    await act(store, idempotency, FIRST)
    await idempotency.answered(FIRST, 201, ANSWER)
    other = replace(FIRST, **change)  # type: ignore[arg-type] # both are texts
    assert await idempotency.earlier(other) is None
    await act(store, idempotency, other)
    assert await effects(store) == 2


async def test_without_a_key_everything_happens_each_time(
    store: EventStore, idempotency: Idempotency
) -> None:
    assert await idempotency.earlier(None) is None
    await act(store, idempotency, None)
    await act(store, idempotency, None)
    await idempotency.answered(None, 201, ANSWER)
    await idempotency.forget(None, "thing-1")
    assert await effects(store) == 2
    assert await count(store.database, "idempotency") == 0


def reading(seen: list[Attempt | None]) -> FastAPI:
    router = APIRouter(prefix="/api")

    @router.post("/things/{name}")
    async def make(name: str, body: dict[str, int], request: Request) -> dict[str, int]:
        seen.append(await idempotency_key(request, "user-1"))
        return body

    async def ready() -> bool:
        return True

    tokens = InternalTokens(b"a secret of tests, and of nothing else", FakeClock())
    return create_app("test", [router], internal_tokens=tokens, ready=ready)


async def ask(seen: list[Attempt | None], headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(reading(seen))
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        return await client.post("/api/things/a", json={"a": 1}, headers=headers)


async def test_an_attempt_is_read_from_the_request() -> None:
    seen: list[Attempt | None] = []
    answer = await ask(seen, {"Idempotency-Key": "key 1"})
    body_sha256 = hashlib.sha256(answer.request.content).digest()
    assert answer.json() == {"a": 1}
    assert seen == [Attempt("user-1", "POST /api/things/{name}", "key 1", body_sha256)]


async def test_a_request_without_the_header_is_no_attempt() -> None:
    seen: list[Attempt | None] = []
    assert (await ask(seen, {})).status_code == 200
    assert seen == [None]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tin it"])
async def test_a_key_that_is_not_well_formed_is_refused(key: str) -> None:
    answer = await ask([], {"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_idempotency_key")
