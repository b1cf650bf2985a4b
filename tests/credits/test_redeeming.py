"""Redeem codes over HTTP: issued once, brought once, and kept as a hash alone."""

import asyncio
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from kernel.clock import new_id
from kernel.http import Identity
from tests.credits.conftest import ADMIN, Credits, person, registered

ISSUE = "/api/admin/credits/codes"
REDEEM = "/api/v2/generation/credits/redeem"
FORM = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){4}")
TABLES = """
    SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
    WHERE schemaname LIKE 'credits%'"""


@pytest.fixture
async def account(credits_service: Credits) -> UUID:
    account = new_id()
    await credits_service.hear(registered(account))
    return account


async def issue(
    credits_service: Credits, body: dict[str, Any], key: str | None = None
) -> dict[str, Any]:
    answer = await credits_service.call("POST", ISSUE, ADMIN, body, key=key)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def redeem(
    credits_service: Credits, who: Identity, code: str, key: str | None = None
) -> httpx.Response:
    return await credits_service.call("POST", REDEEM, who, {"code": code}, key=key)


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", "")


async def test_issues_as_many_codes_as_are_asked_for(credits_service: Credits) -> None:
    said = await issue(credits_service, {"amount": 5, "count": 1_000, "note": "a fair"})
    assert len(set(said["codes"])) == said["count"] == 1_000
    assert all(FORM.fullmatch(code) for code in said["codes"])
    assert (said["amount"], said["note"], said["grant_days"]) == (5.0, "a fair", None)


async def test_a_code_gives_what_it_is_worth_once(credits_service: Credits, account: UUID) -> None:
    (code,) = (await issue(credits_service, {"amount": 2.5}))["codes"]
    answer = await redeem(credits_service, person(account), code)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["success"], said["amount"], said["ends_at"]) == (True, 2.5, None)
    assert said["balance"]["available_credits"] == 12.5
    newest = (await credits_service.get("/history", account)).json()["transactions"][0]
    assert (newest["kind"], newest["reason"], newest["amount"]) == ("grant", "code", 2.5)
    for who in (person(account), person(new_id())):
        assert outcome(await redeem(credits_service, who, code)) == (409, "code_redeemed")


@pytest.mark.parametrize("typed", [str.lower, lambda code: code.replace("-", " "), str.swapcase])
async def test_a_code_is_the_same_however_it_is_typed(
    credits_service: Credits, account: UUID, typed: Any
) -> None:
    (code,) = (await issue(credits_service, {"amount": 1}))["codes"]
    answer = await redeem(credits_service, person(account), f" {typed(code)} ")
    assert answer.status_code == 200, answer.text


async def test_of_many_who_bring_a_code_at_once_one_gets_it(credits_service: Credits) -> None:
    accounts = [new_id() for _ in range(5)]
    await credits_service.hear(*(registered(account) for account in accounts))
    (code,) = (await issue(credits_service, {"amount": 1}))["codes"]
    answers = await asyncio.gather(
        *(redeem(credits_service, person(account), code) for account in accounts)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    totals = [(await credits_service.balance(account)).total_units for account in accounts]
    assert sorted(totals) == [100_000] * 4 + [110_000]


async def test_what_looks_like_a_digit_is_read_as_one(
    credits_service: Credits, account: UUID
) -> None:
    codes = (await issue(credits_service, {"amount": 0.1, "count": 50}))["codes"]
    code = next(code for code in codes if "0" in code and "1" in code)
    mistyped = code.replace("0", "O").replace("1", "l")
    assert (await redeem(credits_service, person(account), mistyped)).status_code == 200


async def test_a_code_may_end_and_so_may_what_it_gives(
    credits_service: Credits, account: UUID
) -> None:
    clock = credits_service.clock
    ends_at = clock.now() + timedelta(days=2)
    body = {"amount": 1, "count": 2, "expires_at": ends_at.isoformat(), "grant_days": 30}
    first, second = (await issue(credits_service, body))["codes"]
    clock.turn(timedelta(days=1))
    grant_ends_at = clock.now() + timedelta(days=30)
    said = (await redeem(credits_service, person(account), first)).json()
    assert said["ends_at"] == grant_ends_at.isoformat().replace("+00:00", "Z")
    due = await credits_service.rows("SELECT account_id, due_at FROM credits.due_accounts")
    assert {"account_id": account, "due_at": grant_ends_at} in due
    clock.turn(timedelta(days=1))
    answer = await redeem(credits_service, person(account), second)
    assert outcome(answer) == (409, "code_expired")


async def test_there_is_no_such_code(credits_service: Credits, account: UUID) -> None:
    for code in ("0000-0000-0000-0000-0000", "x", "\u00e9" * 100):
        answer = await redeem(credits_service, person(account), code)
        assert outcome(answer) == (404, "code_not_found")


async def test_no_key_redeems_a_code(credits_service: Credits, account: UUID) -> None:
    answer = await redeem(credits_service, person(account, new_id()), "x")
    assert outcome(answer) == (403, "access_denied")


async def test_nobody_but_an_admin_issues_codes(credits_service: Credits, account: UUID) -> None:
    answer = await credits_service.call("POST", ISSUE, person(account), {"amount": 1})
    assert outcome(answer) == (403, "access_denied")


async def test_a_repeat_under_the_same_key_is_answered_with_the_first_answer(
    credits_service: Credits, account: UUID
) -> None:
    (code,) = (await issue(credits_service, {"amount": 1}))["codes"]
    who = person(account)
    first = await redeem(credits_service, who, code, key="one")
    again = await redeem(credits_service, who, code, key="one")
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    await credits_service.rows("UPDATE credits.idempotency SET status = NULL, response = NULL")
    credits_service.clock.turn(timedelta(minutes=1))
    lost = await redeem(credits_service, who, code, key="one")
    assert (lost.status_code, lost.json()) == (200, first.json())


async def test_a_repeated_issue_shows_no_code_again_and_makes_none(
    credits_service: Credits,
) -> None:
    first = await issue(credits_service, {"amount": 1, "count": 2}, key="one")
    for _ in range(2):
        again = await issue(credits_service, {"amount": 1, "count": 2}, key="one")
        assert again == first | {"codes": None}
        await credits_service.rows("UPDATE credits.idempotency SET status = NULL, response = NULL")
        credits_service.clock.turn(timedelta(minutes=1))
    made = await credits_service.rows("SELECT 1 FROM credits.events WHERE type = 'CodeIssued'")
    assert len(made) == 2


async def test_a_code_is_kept_nowhere(
    credits_service: Credits, account: UUID, capfd: pytest.CaptureFixture[str]
) -> None:
    codes = (await issue(credits_service, {"amount": 1, "count": 2}, key="one"))["codes"]
    answers = [
        await redeem(credits_service, person(account), codes[0], key="two"),
        await redeem(credits_service, person(account), codes[0]),
        await credits_service.call("POST", REDEEM, person(account), {"code": [codes[1]]}),
        await credits_service.call("POST", REDEEM, person(account), {"code": codes[1] * 5}),
        await credits_service.call("POST", REDEEM, person(account), {"more": codes[1]}),
        await credits_service.call("POST", REDEEM, person(account), codes[1]),
    ]
    assert [answer.status_code for answer in answers] == [200, 409, 422, 422, 422, 422]
    kept = [answer.text for answer in answers] + [*capfd.readouterr()]
    for table in await credits_service.rows(TABLES):
        rows = await credits_service.rows(f"SELECT row::text AS text FROM {table['name']} AS row")
        kept += [row["text"] for row in rows]
    for code in codes:
        for spelling in (code, code.replace("-", "")):
            assert not [text for text in kept if spelling.lower() in text.lower()]
