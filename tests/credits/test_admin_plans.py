"""Plans as admins define them, and who has which."""

from datetime import timedelta
from typing import Any

import httpx

from kernel.clock import new_id
from services.credits.domain import month_after
from tests.credits.conftest import ADMIN, Credits, person, registered

PLANS = "/api/admin/credits/plans"
PRO = {"name": "Pro", "monthly_credits": 500.5}


async def define(credits_service: Credits, plan_id: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await credits_service.call("PUT", f"{PLANS}/{plan_id}", ADMIN, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["plan"])


async def listed(credits_service: Credits) -> dict[str, Any]:
    answer = await credits_service.call("GET", PLANS, ADMIN)
    assert answer.status_code == 200
    return {plan["plan_id"]: plan for plan in answer.json()["plans"]}


async def put_plan(credits_service: Credits, user_id: str, plan_id: str) -> httpx.Response:
    path = f"/api/admin/users/{user_id}/plan"
    return await credits_service.call("PUT", path, ADMIN, {"plan_id": plan_id})


async def test_the_product_brings_the_free_plan(credits_service: Credits) -> None:
    free = (await listed(credits_service))["free"]
    assert (free["name"], free["monthly_credits"], free["offered"]) == ("Free", 10.0, True)
    assert free["defined_by"] is None
    assert [version["version"] for version in free["versions"]] == [1]


async def test_a_plan_keeps_all_its_versions(credits_service: Credits) -> None:
    first = await define(credits_service, "pro", PRO)
    assert (first["version"], first["monthly_credits"], first["roll_over"]) == (1, 500.5, False)
    assert first["defined_by"] == f"user_{ADMIN.user_id.hex}"
    changed = await define(credits_service, "pro", PRO | {"monthly_credits": 600, "offered": False})
    assert [one["monthly_credits"] for one in changed["versions"]] == [600.0, 500.5]
    assert (changed["version"], changed["offered"]) == (2, False)
    assert (await listed(credits_service))["pro"] == changed


async def test_the_same_terms_again_are_no_new_version(credits_service: Credits) -> None:
    first = await define(credits_service, "pro", PRO)
    assert await define(credits_service, "pro", PRO) == first


async def test_a_user_who_gets_a_plan_begins_its_first_period(credits_service: Credits) -> None:
    event = registered(new_id())
    await credits_service.hear(event)
    await define(credits_service, "pro", PRO)
    credits_service.clock.turn(timedelta(days=1))
    answer = await put_plan(credits_service, f"user_{event.user_id.hex}", "pro")
    assert answer.status_code == 200, answer.text
    said, ends_at = answer.json(), month_after(credits_service.clock.now(), 1)
    assert said["plan_id"] == "pro"
    assert said["period_ends_at"] == ends_at.isoformat().replace("+00:00", "Z")
    assert said["balance"]["available_credits"] == 500.5
    due = await credits_service.rows("SELECT account_id, due_at FROM credits.due_accounts")
    assert {"account_id": event.account_id, "due_at": ends_at} in due
    again = await put_plan(credits_service, f"user_{event.user_id.hex}", "pro")
    assert again.json() == said


async def test_refuses_a_plan_or_user_that_is_not_there_or_not_to_be_had(
    credits_service: Credits,
) -> None:
    event = registered(new_id())
    await credits_service.hear(event)
    await define(credits_service, "old", PRO | {"offered": False})
    user = f"user_{event.user_id.hex}"
    outcomes = [
        await put_plan(credits_service, user, "none"),
        await put_plan(credits_service, user, "old"),
        await put_plan(credits_service, f"user_{new_id().hex}", "free"),
        await put_plan(credits_service, "7", "free"),
    ]
    assert [(one.status_code, one.json()["error"]) for one in outcomes] == [
        (404, "plan_not_found"),
        (409, "plan_not_offered"),
        (404, "user_not_found"),
        (404, "user_not_found"),
    ]


async def test_is_for_signed_in_admins_alone(credits_service: Credits) -> None:
    for method, path, body in (
        ("GET", PLANS, None),
        ("PUT", f"{PLANS}/pro", PRO),
        ("PUT", f"/api/admin/users/user_{new_id().hex}/plan", {"plan_id": "free"}),
    ):
        answer = await credits_service.call(method, path, person(new_id()), body)
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
