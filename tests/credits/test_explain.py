"""Why a task was charged, as its owner reads it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.envelope import Envelope
from contracts.generation import LateOutputProduced
from kernel.clock import new_id
from services.credits.adapters.generation_tasks import HISTORY
from services.credits.domain import ACCOUNT, HOLD, POSTING, PostingKind, PostingMade, post
from tests.credits.conftest import (
    GRANT_UNITS,
    NOW,
    Credits,
    cancelled,
    completed,
    created,
    failed,
    registered,
)

PRICE = 15_000
REQUEST = "request-1"


async def explain(credits_service: Credits, account: UUID, task: UUID) -> dict[str, Any]:
    answer = await credits_service.get(f"/explain/task_{task.hex}", account)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def types(body: dict[str, Any]) -> list[str]:
    return [step["type"] for step in body["steps"]]


def step_of(body: dict[str, Any], kind: str) -> dict[str, Any]:
    (step,) = [step for step in body["steps"] if step["type"] == kind]
    return dict(step)


def event(
    kind: str,
    at: datetime,
    cause: UUID | None = None,
    event_id: UUID | None = None,
    **facts: object,
) -> dict[str, Any]:
    """An event of a task, as generation tells it."""
    return {
        "event_id": str(event_id or new_id()),
        "type": kind,
        "at": at.isoformat(),
        "causation_id": str(cause) if cause else None,
        "correlation_id": REQUEST,
        "facts": facts,
    }


def event_of(envelope: Envelope, cause: UUID | None = None, **facts: object) -> dict[str, Any]:
    """The event that a message told of."""
    return event(envelope.type, NOW, cause, envelope.id, **facts)


def tell(credits_service: Credits, *events: dict[str, Any]) -> None:
    credits_service.generation.answers[HISTORY] = {"events": list(events)}


async def ledger_events(credits_service: Credits, task: UUID) -> dict[str, UUID]:
    rows = await credits_service.rows(
        f"SELECT type, event_id FROM credits.events WHERE stream_id = 'hold-{task}'"
    )
    return {row["type"]: row["event_id"] for row in rows}


async def entry_of(credits_service: Credits, account: UUID, kind: str) -> dict[str, Any]:
    history = (await credits_service.get("/history", account)).json()["transactions"]
    (entry,) = [entry for entry in history if entry["kind"] == kind]
    return {name: entry[name] for name in ("id", "kind", "amount", "balance_after")}


async def test_tells_a_charge_from_its_request_to_its_entry(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    _, creation = await credits_service.hear(registered(account), created(account, task, PRICE))
    (ending,) = await credits_service.hear(completed(account, task, 10_000))
    placed = (await ledger_events(credits_service, task))["HoldPlaced"]
    tell(
        credits_service,
        event_of(creation, price_units=PRICE, task_type="image", outputs=1, own_key=False),
        event("TaskReserved", NOW, placed),
        event("ProviderJobSubmitted", NOW, index=0, attempt=1, provider="kie"),
        event_of(ending, charged_units=10_000, outcome="completed"),
    )
    body = await explain(credits_service, account, task)
    steps = body.pop("steps")
    assert body == {
        "success": True,
        "task_id": f"task_{task.hex}",
        "complete": True,
        "price": 1.5,
        "outcome": "completed",
        "charged": 1.0,
        "refunded": 0.0,
    }
    assert [(step["service"], step["type"]) for step in steps] == [
        ("gateway", "Request"),
        ("generation", "TaskCreated"),
        ("credits", "CreditsReserved"),
        ("generation", "TaskReserved"),
        ("generation", "ProviderJobSubmitted"),
        ("generation", "TaskCompleted"),
        ("credits", "CreditsCommitted"),
    ]
    request, creating, reserving, reserved, _, _, committing = steps
    assert (request["request_id"], request["event_id"], request["at"]) == (REQUEST, None, None)
    assert creating["facts"] == {"price": 1.5, "task_type": "image", "outputs": 1, "own_key": False}
    assert reserving["caused_by"] == creating["event_id"] == f"event_{creation.id.hex}"
    assert reserved["caused_by"] == reserving["event_id"] == f"event_{placed.hex}"
    assert reserving["entry"] == await entry_of(credits_service, account, "hold")
    assert committing["caused_by"] == f"event_{ending.id.hex}"
    assert committing["facts"] == {"amount": 1.0, "released": 0.5, "outcome": "completed"}
    assert committing["entry"] == await entry_of(credits_service, account, "commit")
    assert credits_service.generation.asked == [(HISTORY, {"task_id": str(task)})]


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
async def test_an_effect_comes_after_its_cause_whatever_clocks_say(
    credits_service: Credits, ahead: timedelta
) -> None:
    account, task = new_id(), new_id()
    _, creation = await credits_service.hear(registered(account), created(account, task, PRICE))
    (ending,) = await credits_service.hear(failed(account, task))
    placed = (await ledger_events(credits_service, task))["HoldPlaced"]
    events = (
        event_of(creation),
        event("TaskReserved", NOW, placed),
        event("TaskStarted", NOW),
        event_of(ending, outcome="provider_failed"),
    )
    at = (credits_service.clock.now() + ahead).isoformat()
    tell(credits_service, *(one | {"at": at} for one in events))
    assert types(await explain(credits_service, account, task)) == [
        *("Request", "TaskCreated", "CreditsReserved", "TaskReserved", "TaskStarted"),
        *("TaskFailed", "CreditsReleased"),
    ]


async def test_what_nothing_caused_is_where_its_time_says(credits_service: Credits) -> None:
    account, task, clock = new_id(), new_id(), credits_service.clock
    await credits_service.hear(
        *(registered(account), created(account, task, PRICE), completed(account, task, PRICE))
    )
    clock.turn(timedelta(minutes=1))
    await refund(credits_service, account, task, 5_000)
    for late_by, order in (
        (timedelta(minutes=1), ["CreditsCommitted", "HoldRefunded", "OutputCameLate"]),
        (timedelta(seconds=-1), ["CreditsCommitted", "OutputCameLate", "HoldRefunded"]),
    ):
        tell(credits_service, event("OutputCameLate", clock.now() + late_by, index=1))
        assert types(await explain(credits_service, account, task))[-3:] == order


async def refund(credits_service: Credits, account: UUID, task: UUID, units: int) -> None:
    store = credits_service.service.store
    assert store is not None
    posting_id = f"refund-{new_id().hex}"
    asked = PostingMade(
        posting_id, account, PostingKind.REFUND, units, "blurred", new_id(), task_id=task
    )
    now = credits_service.clock.now()
    await store.transact(
        lambda unit: unit.decide_on(
            (
                (POSTING, POSTING.stream_id(posting_id)),
                (ACCOUNT, ACCOUNT.stream_id(account)),
                (HOLD, HOLD.stream_id(task)),
            ),
            lambda posting, state, hold: post(asked, now, posting, state, hold),
        )
    )


async def test_each_refund_has_its_own_entry(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, task, PRICE), completed(account, task, PRICE))
    )
    await refund(credits_service, account, task, 5_000)
    await refund(credits_service, account, task, 2_500)
    body = await explain(credits_service, account, task)
    assert (body["charged"], body["refunded"]) == (1.5, 0.75)
    refunds = [step for step in body["steps"] if step["type"] == "HoldRefunded"]
    assert [
        (step["entry"]["amount"], step["entry"]["balance_after"]["used_credits"])
        for step in refunds
    ] == [(0.5, 1.0), (0.25, 0.75)]


async def test_a_decline_says_what_was_required_and_available(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    _, creation = await credits_service.hear(
        registered(account), created(account, task, GRANT_UNITS + 1)
    )
    refused = (await ledger_events(credits_service, task))["HoldRefused"]
    declined = event(
        "TaskDeclined", NOW, refused, required_units=GRANT_UNITS + 1, available_units=GRANT_UNITS
    )
    tell(credits_service, event_of(creation, price_units=GRANT_UNITS + 1), declined)
    body = await explain(credits_service, account, task)
    assert types(body) == ["Request", "TaskCreated", "CreditsDeclined", "TaskDeclined"]
    step = step_of(body, "CreditsDeclined")
    amounts = {"required": 10.0001, "available": 10.0}
    assert step["facts"] == {"reason": "insufficient_credits"} | amounts
    assert step["entry"] is None
    assert step_of(body, "TaskDeclined")["facts"] == amounts
    assert (body["price"], body["outcome"], body["charged"]) == (10.0001, "declined", 0.0)


async def test_a_decline_by_a_keys_limit_says_limit_and_used(credits_service: Credits) -> None:
    account, task, key = new_id(), new_id(), new_id()
    await credits_service.hear(
        registered(account), created(account, task, PRICE, key_id=key, limit_units=10_000)
    )
    limited = {"limit_units": 10_000, "used_units": 0}
    tell(
        credits_service,
        event("TaskCreated", NOW, price_units=PRICE),
        event("TaskDeclined", NOW, required_units=PRICE, limited=limited),
    )
    body = await explain(credits_service, account, task)
    assert step_of(body, "TaskDeclined")["facts"] == {"required": 1.5, "limit": 1.0, "used": 0.0}
    assert step_of(body, "CreditsDeclined")["facts"] == {
        "reason": "monthly_credit_limit_reached",
        "required": 1.5,
        "available": 10.0,
        "limit": 1.0,
        "used": 0.0,
    }


async def test_a_release_names_its_outcome_and_charges_nothing(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, task, PRICE), failed(account, task))
    )
    body = await explain(credits_service, account, task)
    assert (body["outcome"], body["charged"]) == ("provider_failed", 0.0)
    step = step_of(body, "CreditsReleased")
    assert step["facts"] == {"amount": 1.5, "outcome": "provider_failed"}
    assert step["entry"] == await entry_of(credits_service, account, "release")


async def test_what_came_too_late_is_the_platforms_loss(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, task, PRICE), cancelled(account, task)),
        LateOutputProduced(
            task_id=task,
            account_id=account,
            index=0,
            provider="kie",
            price_units=PRICE,
            produced_at=NOW,
        ),
    )
    step = step_of(await explain(credits_service, account, task), "LossEntered")
    assert step["facts"] == {"amount": 1.5, "reason": "late_delivery", "index": 0}
    (loss,) = await credits_service.rows("SELECT entry_id FROM credits_read.losses")
    assert step["entry"] == {
        "id": f"entry_{loss['entry_id'].hex}",
        "kind": "loss",
        "amount": 1.5,
        "balance_after": None,
    }


async def test_tells_its_own_part_while_generation_is_away(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, task, PRICE), completed(account, task, PRICE))
    )
    body = await explain(credits_service, account, task)
    assert types(body) == ["Request", "CreditsReserved", "CreditsCommitted"]
    assert body["steps"][0]["request_id"] == "test"
    summary = ("complete", "price", "outcome", "charged")
    assert [body[name] for name in summary] == [False, 1.5, "completed", 1.5]


@pytest.mark.parametrize(
    "answer",
    [
        {"events": []},
        {"detail": "not what was asked"},
        {"events": [{"event_id": "x"}]},
    ],
)
async def test_what_is_no_history_of_the_task_leaves_it_incomplete(
    credits_service: Credits, answer: dict[str, Any]
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(registered(account), created(account, task, PRICE))
    credits_service.generation.answers[HISTORY] = answer
    body = await explain(credits_service, account, task)
    assert (types(body), body["complete"]) == (["Request", "CreditsReserved"], False)
    assert (body["outcome"], body["charged"]) == (None, 0.0)


async def test_a_task_that_ended_before_its_reservation_has_no_price_yet(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(registered(account), cancelled(account, task))
    body = await explain(credits_service, account, task)
    assert (types(body), body["price"]) == (["Request", "HoldBarred"], None)
    await credits_service.hear(created(account, task, PRICE))
    body = await explain(credits_service, account, task)
    assert (types(body), body["price"]) == (["Request", "HoldBarred", "CreditsDeclined"], 1.5)


async def test_shows_nothing_that_explains_no_charge(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(registered(account), created(account, task, PRICE))
    secret = {"prompt": "a cat", "provider_job_id": "job-1", "url": "https://cdn.test/a.png"}
    creation = event("TaskCreated", NOW)
    tell(credits_service, creation | {"facts": {"price_units": PRICE, **secret}})
    answer = await credits_service.get(f"/explain/task_{task.hex}", account)
    assert step_of(answer.json(), "TaskCreated")["facts"] == {"price": 1.5}
    assert not any(word in answer.text for word in secret.values())


async def test_knows_no_task_of_others_and_says_it_alike(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(registered(account), created(account, task, PRICE))
    tell(credits_service, event("TaskCreated", NOW))
    unknown = (f"task_{new_id().hex}", task.hex, f"task_{task.hex.upper()}", "task_", "%00", "x")
    answers = [
        *[await credits_service.get(f"/explain/{text}", account) for text in unknown],
        await credits_service.get(f"/explain/task_{task.hex}", new_id()),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["error"] for answer in answers} == {"task_not_found"}
    assert len({answer.json()["message"] for answer in answers}) == 1
    assert credits_service.generation.asked == []


async def test_explains_nothing_without_the_gateways_word(credits_service: Credits) -> None:
    answer = await credits_service.get(f"/explain/task_{new_id().hex}", None)
    assert answer.status_code == 401
