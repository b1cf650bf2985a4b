"""What credits were used for."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kernel.clock import new_id
from tests.credits.conftest import ADMIN, Credits, completed, created, person, registered

PATH = "/api/v2/generation/usage"


async def usage(credits_service: Credits, account: UUID, query: str = "") -> dict[str, Any]:
    answer = await credits_service.call("GET", PATH + query, person(account))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def use(credits_service: Credits, account: UUID, units: int) -> UUID:
    task = new_id()
    await credits_service.hear(created(account, task, units), completed(account, task, units))
    return task


@pytest.fixture
async def account(credits_service: Credits) -> UUID:
    account = new_id()
    await credits_service.hear(registered(account))
    return account


async def test_has_a_record_of_each_task_that_was_charged(
    credits_service: Credits, account: UUID
) -> None:
    key, task = new_id(), new_id()
    await credits_service.hear(
        created(account, task, 15_000, key_id=key), completed(account, task, 10_000)
    )
    await credits_service.hear(created(account, new_id(), 10_000))
    (record,) = (await usage(credits_service, account))["usage"]
    used_at = credits_service.clock.now().isoformat().replace("+00:00", "Z")
    assert record == {
        "task_id": f"task_{task.hex}",
        "task_type": "image",
        "model_id": "flux-2",
        "key_id": f"key_{key.hex}",
        "credits_used": 1.0,
        "outcome": "completed",
        "used_at": used_at,
    }


async def test_counts_no_more_than_what_was_not_given_back(
    credits_service: Credits, account: UUID
) -> None:
    task = await use(credits_service, account, 15_000)
    refund = {
        "account_id": f"account_{account.hex}",
        "kind": "refund",
        "task_id": f"task_{task.hex}",
        "amount": 0.5,
        "reason": "blurred",
    }
    answer = await credits_service.call("POST", "/api/admin/credits/grants", ADMIN, refund)
    assert answer.status_code == 201, answer.text
    body = await usage(credits_service, account)
    assert (body["usage"][0]["credits_used"], body["totals"]["credits_used"]) == (1.0, 1.0)


async def test_totals_are_of_the_whole_range_whatever_the_page(
    credits_service: Credits, account: UUID
) -> None:
    tasks = []
    for units in (10_000, 20_000, 30_000):
        tasks.append(await use(credits_service, account, units))
        credits_service.clock.turn(timedelta(microseconds=1))
    seen, query = [], "?limit=2"
    while query:
        body = await usage(credits_service, account, query)
        seen += [record["task_id"] for record in body["usage"]]
        totals = body["totals"]
        assert (totals["tasks"], totals["credits_used"]) == (3, 6.0)
        assert totals["by_task_type"] == {"image": {"tasks": 3, "credits_used": 6.0}}
        assert totals["by_model"] == {"flux-2": {"tasks": 3, "credits_used": 6.0}}
        query = f"?limit=2&cursor={body['next_cursor']}" if body["next_cursor"] else ""
    assert seen == [f"task_{task.hex}" for task in reversed(tasks)]


async def test_is_of_this_month_unless_it_is_asked_for_another(
    credits_service: Credits, account: UUID
) -> None:
    clock = credits_service.clock
    await use(credits_service, account, 10_000)
    before = clock.now()
    clock.turn(timedelta(days=32))
    body = await usage(credits_service, account)
    assert (body["usage"], body["totals"]["tasks"]) == ([], 0)
    assert body["totals"]["since"] == f"{clock.now():%Y-%m}-01T00:00:00Z"
    begin = datetime(before.year, before.month, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    assert (await usage(credits_service, account, f"?since={begin}"))["totals"]["tasks"] == 1
    until = body["totals"]["since"]
    body = await usage(credits_service, account, f"?until={until}")
    assert body["totals"]["until"] == until


async def test_shows_nothing_of_another_account(credits_service: Credits, account: UUID) -> None:
    await use(credits_service, account, 10_000)
    assert (await usage(credits_service, new_id()))["usage"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?since=yesterday", "since"),
        ("?until=2026", "until"),
        ("?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("?since=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?cursor=x", "cursor"),
        (f"?cursor={'9' * 18}_{'0' * 32}", "cursor"),
        (f"?cursor={'9' * 5_000}_{'0' * 32}", "cursor"),
    ],
)
async def test_names_what_is_wrong(
    credits_service: Credits, account: UUID, query: str, field: str
) -> None:
    answer = await credits_service.call("GET", PATH + query, person(account))
    assert answer.status_code == 422
    details = answer.json()["details"]
    assert field in {details.get("field"), *(one["field"] for one in details.get("fields", []))}
