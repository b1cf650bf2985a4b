"""Bodies that are refused, field by field, and change nothing."""

import json
from typing import Any

import pytest

from kernel.clock import new_id
from tests.credits.conftest import ADMIN, Credits, person, registered

ACCOUNT = new_id()
GRANTS = ("POST", "/api/admin/credits/grants")
CODES = ("POST", "/api/admin/credits/codes")
PLAN = ("PUT", "/api/admin/credits/plans/pro")
USERS_PLAN = ("PUT", f"/api/admin/users/user_{new_id().hex}/plan")
REDEEM = ("POST", "/api/v2/generation/credits/redeem")
GOOD: dict[tuple[str, str], dict[str, Any]] = {
    GRANTS: {"account_id": f"account_{ACCOUNT.hex}", "amount": 1, "reason": "why"},
    CODES: {"amount": 1},
    PLAN: {"name": "Pro", "monthly_credits": 1},
    USERS_PLAN: {"plan_id": "free"},
    REDEEM: {"code": "x"},
}
AMOUNT_FIELDS = {GRANTS: "amount", CODES: "amount", PLAN: "monthly_credits"}
NO_AMOUNTS = (
    *("-1", "0", "0.0", "NaN", "Infinity", "-Infinity", "1e400", "1.00001", "1e-5"),
    *("1000000000000.0001", "1000000000001", '"1"', "true", "null", "[]", "{}"),
    "0.000100000000000000000000000000000000001",
)
BAD = [
    *((GRANTS, {"colour": "red"}, "colour"), (GRANTS, {"amount": None}, "amount")),
    *((GRANTS, {"reason": text}, "reason") for text in ("", " ", "a\nb", "x" * 201, 7, None)),
    *((GRANTS, {"kind": kind}, "kind") for kind in ("gift", "hold", 1)),
    *((GRANTS, {"grant_id": text}, "grant_id") for text in ("", "x" * 101, "a b", "\u00e9", 7)),
    *((GRANTS, {"grant_id": text}, "grant_id") for text in ("plan:free:1", "code:ab", "a\n")),
    *((GRANTS, {"account_id": text}, "account_id") for text in ("7", 7, f"user_{new_id().hex}")),
    (GRANTS, {"account_id": None}, "user_id"),
    (GRANTS, {"user_id": f"user_{new_id().hex}"}, "user_id"),
    (GRANTS, {"user_id": f"account_{new_id().hex}"}, "user_id"),
    (GRANTS, {"direction": "debit"}, "direction"),
    (GRANTS, {"kind": "adjust"}, "direction"),
    (GRANTS, {"kind": "adjust", "direction": "up"}, "direction"),
    (GRANTS, {"kind": "refund"}, "task_id"),
    (GRANTS, {"task_id": f"task_{new_id().hex}"}, "task_id"),
    (GRANTS, {"kind": "refund", "task_id": "7"}, "task_id"),
    *((GRANTS, {"expires_at": at}, "expires_at") for at in ("soon", 1, "2020-01-01T00:00:00Z")),
    (
        GRANTS,
        {"kind": "adjust", "direction": "credit", "expires_at": "2100-01-01T00:00:00Z"},
        "expires_at",
    ),
    *((CODES, {"count": count}, "count") for count in (0, 1_001, 1.5, "1", True)),
    *((CODES, {"grant_days": days}, "grant_days") for days in (0, 3_651, 1.5, "1", True)),
    *((CODES, {"expires_at": at}, "expires_at") for at in ("soon", 1, "2020-01-01T00:00:00Z")),
    *((CODES, {"note": note}, "note") for note in ("", "x" * 201, "a\tb", 7)),
    (CODES, {"codes": ["A"]}, "codes"),
    *((PLAN, {"name": name}, "name") for name in ("", " ", "x" * 101, "a\nb", 7, None)),
    *((PLAN, {name: "yes"}, name) for name in ("roll_over", "offered")),
    *((PLAN, {name: 1}, name) for name in ("roll_over", "offered")),
    (PLAN, {"price": 1}, "price"),
    *((USERS_PLAN, {"plan_id": plan}, "plan_id") for plan in ("", "Pro", "x" * 51, "a_b", 7)),
    (USERS_PLAN, {"colour": "red"}, "colour"),
    *((REDEEM, {"code": code}, "code") for code in ("", " - ", "x" * 101, 7, None)),
    (REDEEM, {"colour": "red"}, "colour"),
]


async def refused(
    credits_service: Credits, route: tuple[str, str], content: str, field: str
) -> None:
    await credits_service.hear(registered(ACCOUNT))
    before = await credits_service.rows("SELECT count(*) FROM credits.events")
    who = person(ACCOUNT) if route is REDEEM else ADMIN
    answer = await credits_service.call(*route, who, content=content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == "invalid_request"
    details = answer.json()["details"]
    named = {details.get("field"), *(one["field"] for one in details.get("fields", []))}
    assert field in named
    assert field in answer.json()["message"]
    assert await credits_service.rows("SELECT count(*) FROM credits.events") == before


@pytest.mark.parametrize("number", NO_AMOUNTS)
async def test_names_an_amount_that_is_none(credits_service: Credits, number: str) -> None:
    for route, field in AMOUNT_FIELDS.items():
        body = json.dumps(GOOD[route] | {field: "THIS"}).replace('"THIS"', number)
        await refused(credits_service, route, body, field)


@pytest.mark.parametrize(("route", "changes", "field"), BAD)
async def test_names_the_field_that_is_wrong(
    credits_service: Credits, route: tuple[str, str], changes: dict[str, Any], field: str
) -> None:
    await refused(credits_service, route, json.dumps(GOOD[route] | changes), field)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '"x"', "1" * 5_000])
async def test_refuses_what_is_no_object(credits_service: Credits, content: str) -> None:
    for route in GOOD:
        answer = await credits_service.call(*route, ADMIN, content=content)
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")


@pytest.mark.parametrize("plan_id", ["Pro", "a_b", "x" * 51, "%0A", "a%0A"])
async def test_names_the_id_of_a_plan_that_can_be_none(
    credits_service: Credits, plan_id: str
) -> None:
    path = f"/api/admin/credits/plans/{plan_id}"
    answer = await credits_service.call("PUT", path, ADMIN, GOOD[PLAN])
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["details"]["fields"]] == ["plan_id"]
