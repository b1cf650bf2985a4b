"""A quote binds: whoever creates a task with it pays what was told, and nobody else can."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.generation.adapters.quotes import VALID_FOR
from services.generation.api.tasks import Tasks
from tests.generation.conftest import PROMPT, Generation, person
from tests.generation.test_own_keys import give_key

SECOND = timedelta(seconds=1)
PICTURE: dict[str, Any] = {"model_id": "nano-banana-pro", "options": {"quality": "4k"}}


async def quoted(generation: Generation, me: Any, **body: Any) -> dict[str, Any]:
    answer = await generation.call("POST", "/estimate", me, PICTURE | body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_task_costs_what_was_quoted(generation: Generation) -> None:
    me = person()
    quote = await quoted(generation, me)
    answer = await generation.create(me, quote_id=quote["quote_id"], **PICTURE)
    assert (answer.status_code, answer.json()["credits_reserved"]) == (201, quote["credits"])


async def test_a_price_that_has_risen_since_is_not_asked(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = person()
    quote = await quoted(generation, me)
    cheap = Tasks.plan

    async def dear(self: Tasks, request: Any, who: Any) -> Any:
        plan = await cheap(self, request, who)
        return replace(plan, order=replace(plan.order, price_units=plan.order.price_units * 3))

    monkeypatch.setattr(Tasks, "plan", dear)
    assert (await generation.create(me, **PICTURE)).json()["credits_reserved"] == 6.0
    answer = await generation.create(me, quote_id=quote["quote_id"], **PICTURE)
    assert answer.json()["credits_reserved"] == quote["credits"] == 2.0


async def test_holds_for_ten_minutes_and_no_longer(generation: Generation) -> None:
    me = person()
    quote = await quoted(generation, me)
    generation.clock.turn(VALID_FOR - SECOND)
    answer = await generation.create(me, quote_id=quote["quote_id"], **PICTURE)
    assert answer.status_code == 201
    generation.clock.turn(SECOND)
    answer = await generation.create(me, quote_id=quote["quote_id"], **PICTURE)
    assert (answer.status_code, answer.json()["error"]) == (422, "quote_expired")
    assert answer.json()["details"]["field"] == "quote_id"


@pytest.mark.parametrize(
    "other", [{"model_id": "gemini-image"}, {"options": {"quality": "hd"}}, {"options": {}}]
)
async def test_is_for_the_same_request_alone(generation: Generation, other: dict[str, Any]) -> None:
    me = person()
    quote = await quoted(generation, me)
    answer = await generation.create(me, quote_id=quote["quote_id"], **(PICTURE | other))
    assert (answer.status_code, answer.json()["error"]) == (422, "quote_mismatch")
    assert generation.ledger.heard == []


async def test_a_quote_under_ones_own_key_is_none_for_the_platforms(generation: Generation) -> None:
    me = person()
    give_key(generation, me.user_id)
    quote = await quoted(generation, me)
    assert quote["credits"] == 0.4
    generation.keys.known.clear()
    generation.clock.turn(VALID_FOR - SECOND)  # what was known of keys is forgotten by then
    answer = await generation.create(me, quote_id=quote["quote_id"], **PICTURE)
    assert (answer.status_code, answer.json()["error"]) == (422, "quote_mismatch")


async def test_is_for_the_same_user_alone(generation: Generation) -> None:
    quote = await quoted(generation, person())
    answer = await generation.create(person(), quote_id=quote["quote_id"], **PICTURE)
    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_quote")


@pytest.mark.parametrize("named", ["quote_1", "x", f"quote_{'0' * 32}", "quote_" + "é" * 32])
async def test_knows_no_quote_that_it_did_not_give(generation: Generation, named: str) -> None:
    answer = await generation.create(person(), quote_id=named, **PICTURE)
    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_quote")


async def test_what_it_was_asked_for_is_kept_as_a_digest_and_not_for_long(
    generation: Generation,
) -> None:
    me = person()
    await quoted(generation, me, prompt=PROMPT)
    assert PROMPT not in str(await generation.rows("SELECT * FROM generation.quotes"))
    generation.clock.turn(VALID_FOR + SECOND)
    await quoted(generation, me)
    assert len(await generation.rows("SELECT 1 FROM generation.quotes")) == 1
