"""What admins post by hand, over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from kernel.clock import new_id
from kernel.http import Identity
from tests.credits.conftest import ADMIN, Credits, completed, created, person, registered

PATH = "/api/admin/credits/grants"
OTHER_ADMIN = Identity(new_id(), new_id(), "admin", "free", frozenset({"admin"}))
Body = dict[str, Any]


@pytest.fixture
async def account(credits_service: Credits) -> UUID:
    account = new_id()
    await credits_service.hear(registered(account))
    return account


def grant(account: UUID, **changes: object) -> Body:
    return {"account_id": f"account_{account.hex}", "amount": 2.5, "reason": "sorry", **changes}


async def send(
    credits_service: Credits, body: Body, *, who: Identity = ADMIN, key: str | None = None
) -> httpx.Response:
    return await credits_service.call("POST", PATH, who, body, key=key)


async def post(credits_service: Credits, body: Body, **how: Any) -> Body:
    answer = await send(credits_service, body, **how)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def entries(credits_service: Credits, account: UUID) -> int:
    return len((await credits_service.get("/history", account)).json()["transactions"])


async def test_grants_and_shows_the_posting_its_entry_and_the_balance(
    credits_service: Credits, account: UUID
) -> None:
    said = await post(credits_service, grant(account, grant_id="ticket:7"))
    assert said["repeated"] is False
    assert said["posting"] == {
        "grant_id": "ticket:7",
        "account_id": f"account_{account.hex}",
        "kind": "grant",
        "amount": 2.5,
        "reason": "sorry",
        "direction": None,
        "expires_at": None,
        "task_id": None,
    }
    newest = (await credits_service.get("/history", account)).json()["transactions"][0]
    assert said["transaction"] == newest
    assert (newest["kind"], newest["change"], newest["reason"]) == ("grant", 2.5, "sorry")
    assert said["balance"] == newest["balance_after"]
    assert said["balance"]["available_credits"] == 12.5


async def test_finds_the_account_of_a_user(credits_service: Credits) -> None:
    account = new_id()
    event = registered(account)
    await credits_service.hear(event)
    body = {"user_id": f"user_{event.user_id.hex}", "amount": 1, "reason": "welcome"}
    said = await post(credits_service, body)
    assert said["posting"]["account_id"] == f"account_{account.hex}"
    assert said["posting"]["grant_id"].startswith("grant_")


async def test_a_grant_may_end(credits_service: Credits, account: UUID) -> None:
    ends_at = credits_service.clock.now() + timedelta(days=1)
    text = ends_at.isoformat().replace("+00:00", "Z")
    said = await post(credits_service, grant(account, expires_at=text))
    assert said["transaction"]["ends_at"] == text
    balance = (await credits_service.get("?ending=true", account)).json()
    assert {"amount": 2.5, "ends_at": text} in balance["ending"]
    due = await credits_service.rows("SELECT account_id, due_at FROM credits.due_accounts")
    assert {"account_id": account, "due_at": ends_at} in due


async def test_adjusts_in_both_directions(credits_service: Credits, account: UUID) -> None:
    more = await post(credits_service, grant(account, kind="adjust", direction="credit"))
    less = await post(credits_service, grant(account, kind="adjust", direction="debit", amount=12))
    assert [said["transaction"]["change"] for said in (more, less)] == [2.5, -12.0]
    assert less["posting"]["direction"] == "debit"
    assert less["balance"]["available_credits"] == 0.5


async def test_takes_no_more_than_there_is_and_says_how_much_that_is(
    credits_service: Credits, account: UUID
) -> None:
    body = grant(account, kind="adjust", direction="debit", amount=10.0001)
    refused = await send(credits_service, body)
    assert (refused.status_code, refused.json()["error"]) == (422, "insufficient_credits")
    details = {"field": "amount", "required": 10.0001, "available": 10.0}
    assert refused.json()["details"] == details


async def test_refunds_what_a_task_was_charged_and_no_more(
    credits_service: Credits, account: UUID
) -> None:
    task = new_id()
    await credits_service.hear(created(account, task, 15_000), completed(account, task, 15_000))
    body = grant(account, kind="refund", task_id=f"task_{task.hex}", amount=1)
    said = await post(credits_service, body)
    assert (said["transaction"]["kind"], said["balance"]["used_credits"]) == ("refund", 0.5)
    refused = await send(credits_service, body)
    assert (refused.status_code, refused.json()["error"]) == (409, "exceeds_charge")
    assert refused.json()["details"] == {"required": 1.0, "available": 0.5}


async def test_the_same_again_is_made_once_and_answered_alike(
    credits_service: Credits, account: UUID
) -> None:
    body = grant(account, grant_id="once")
    first = await post(credits_service, body)
    credits_service.clock.turn(timedelta(days=1))
    await credits_service.hear(created(account, new_id(), 10_000))
    again = await post(credits_service, body, who=OTHER_ADMIN)
    assert again == first | {"repeated": True}
    assert await entries(credits_service, account) == 3


async def test_equal_grants_of_one_moment_are_each_shown_with_their_own_balance(
    credits_service: Credits, account: UUID
) -> None:
    bodies = [grant(account, grant_id=name) for name in ("one", "two")]
    for _ in range(2):
        said = [await post(credits_service, body) for body in bodies]
        assert [one["balance"]["total_credits"] for one in said] == [12.5, 15.0]


async def test_shows_its_entry_though_another_process_has_a_clock_ahead(
    credits_service: Credits, account: UUID
) -> None:
    credits_service.clock.turn(timedelta(seconds=-1))
    said = await post(credits_service, grant(account))
    assert said["transaction"]["balance_after"]["total_credits"] == 12.5


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"amount": 3}, ["amount"]),
        ({"reason": "another"}, ["reason"]),
        ({"kind": "adjust", "direction": "debit"}, ["kind", "direction"]),
        ({"kind": "refund", "task_id": f"task_{new_id().hex}"}, ["kind", "task_id"]),
        ({"expires_at": "2100-01-01T00:00:00Z"}, ["expires_at"]),
    ],
)
async def test_other_words_under_the_same_id_are_refused_by_name(
    credits_service: Credits, account: UUID, changes: Body, fields: list[str]
) -> None:
    await post(credits_service, grant(account, grant_id="once"))
    refused = await send(credits_service, grant(account, grant_id="once", **changes))
    assert (refused.status_code, refused.json()["error"]) == (409, "posting_differs")
    assert refused.json()["details"] == {"fields": fields}
    assert all(field in refused.json()["message"] for field in fields)


async def test_a_repeated_idempotency_key_is_answered_with_the_first_answer(
    credits_service: Credits, account: UUID
) -> None:
    first, again = [await send(credits_service, grant(account), key="one") for _ in range(2)]
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await entries(credits_service, account) == 2
    other = await send(credits_service, grant(account, amount=3), key="one")
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_mismatch")


async def test_an_answer_that_was_lost_is_found_again(
    credits_service: Credits, account: UUID
) -> None:
    first = await send(credits_service, grant(account), key="one")
    await credits_service.rows("UPDATE credits.idempotency SET status = NULL, response = NULL")
    credits_service.clock.turn(timedelta(minutes=1))
    again = await send(credits_service, grant(account), key="one")
    assert (again.status_code, again.json()) == (201, first.json())
    assert await entries(credits_service, account) == 2


async def test_the_largest_amount_arrives_exactly(credits_service: Credits, account: UUID) -> None:
    content = (
        f'{{"account_id": "account_{account.hex}", "amount": 999999999989.9997, "reason": "all"}}'
    )
    answer = await credits_service.call("POST", PATH, ADMIN, content=content)
    assert answer.status_code == 201, answer.text
    assert '"amount":999999999989.9997,' in answer.text
    assert '"total_credits":999999999999.9997,' in answer.text
    for path in ("", "/history"):
        shown = (await credits_service.get(path, account)).text
        assert '"total_credits":999999999999.9997,' in shown
    refused = await send(credits_service, grant(account, amount=1))
    assert (refused.status_code, refused.json()["error"]) == (409, "balance_too_large")
    assert refused.json()["details"] == {"required": 1.0, "available": 0.0003}


async def test_the_same_posting_at_once_is_made_once(
    credits_service: Credits, account: UUID
) -> None:
    body = grant(account, grant_id="once")
    answers = await asyncio.gather(*(post(credits_service, body) for _ in range(5)))
    assert sorted(answer["repeated"] for answer in answers) == [False, True, True, True, True]
    assert await entries(credits_service, account) == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"account_id": f"account_{new_id().hex}"}, "account_not_found"),
        ({"account_id": None, "user_id": f"user_{new_id().hex}"}, "user_not_found"),
        ({"kind": "refund", "task_id": f"task_{new_id().hex}"}, "task_not_found"),
    ],
)
async def test_there_is_no_such_account_user_or_task(
    credits_service: Credits, account: UUID, changes: Body, code: str
) -> None:
    answer = await send(credits_service, grant(account, **changes))
    assert (answer.status_code, answer.json()["error"]) == (404, code)


async def test_is_for_signed_in_admins_alone(credits_service: Credits, account: UUID) -> None:
    admins_key = Identity(
        new_id(), new_id(), "admin", "free", frozenset({"admin"}), key_id=new_id()
    )
    for who in (person(account), admins_key):
        answer = await send(credits_service, grant(account), who=who)
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
    assert await entries(credits_service, account) == 1
