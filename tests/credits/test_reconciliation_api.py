"""What an admin sees of reconciliation: the last round, differences, sums and losses."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from kernel.clock import new_id
from kernel.http import Identity
from kernel.http.identity import HEADER, ITSELF
from kernel.identifiers import shown
from services.credits.adapters.differences import Differences, Found, Kind
from services.credits.adapters.platform_accounts import PlatformSums
from tests.credits.conftest import Credits, completed, created, failed, registered

ADMIN = Identity(new_id(), new_id(), "admin", "free", frozenset())
PATH = "/api/admin/reconciliation"


async def ask(ledger: Credits, query: str = "", who: Identity | None = ADMIN) -> httpx.Response:
    headers = {HEADER: ledger.platform.internal_tokens.mint(who)} if who else {}
    return await ledger.client.get(f"{PATH}{query}", headers=headers)


async def seen(ledger: Credits, query: str = "") -> Any:
    answer = await ask(ledger, query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def records(ledger: Credits) -> Differences:
    return Differences(ledger.platform.database)


async def found(ledger: Credits, count: int, *, settled: bool = False) -> list[UUID]:
    tasks = [new_id() for _ in range(count)]
    await records(ledger).record(
        [
            Found(
                Kind.HOLD_WITHOUT_TASK if settled else Kind.TASK_WITHOUT_HOLD,
                *(task, new_id(), 15_000, ledger.clock.now()),
                action="released" if settled else None,
                settled=settled,
            )
            for task in tasks
        ]
    )
    return tasks


async def lost(ledger: Credits, count: int) -> list[UUID]:
    """Tasks whose charge came after their release."""
    account, tasks = new_id(), [new_id() for _ in range(count)]
    await ledger.hear(registered(account))
    for task in tasks:
        await ledger.hear(
            created(account, task, 15_000), failed(account, task), completed(account, task, 15_000)
        )
    return tasks


async def test_before_the_first_round_there_is_nothing_to_see(credits_service: Credits) -> None:
    assert await seen(credits_service) == {
        "success": True,
        "last_round": None,
        "differences": [],
        "platform": None,
        "losses": [],
        "next_cursor": None,
    }


async def test_shows_the_last_round_and_the_sums_with_their_times(
    credits_service: Credits,
) -> None:
    now = credits_service.clock.now()
    of = records(credits_service)
    holder = new_id()
    assert await of.claim(holder, now)
    at = now + timedelta(seconds=2)
    await of.end(holder, now, ended_at=at, holds=3, tasks=2, losses_units=0)
    await of.sums(PlatformSums(-100_000, 30_000, -15_000, 85_000), now)
    told = await seen(credits_service)
    as_told = {moment: moment.isoformat().replace("+00:00", "Z") for moment in (now, at)}
    assert told["last_round"] == {"at": as_told[at], "holds": 3, "tasks": 2}
    assert told["platform"] == {
        "at": as_told[now],
        "grants_credits": -10,
        "revenue_credits": 3,
        "losses_credits": -1.5,
        "users_credits": 8.5,
        "sum_credits": 0,
    }


async def test_shows_differences_and_losses_newest_first(credits_service: Credits) -> None:
    older = await found(credits_service, 1, settled=True)
    newer = await found(credits_service, 1)
    late = await lost(credits_service, 2)
    told = await seen(credits_service)
    assert [one["task_id"] for one in told["differences"]] == [
        shown("task", task) for task in (*newer, *older)
    ]
    open_one, settled_one = told["differences"]
    assert (open_one["kind"], open_one["action"]) == ("task_without_hold", None)
    assert open_one["settled_at"] is None
    assert (settled_one["kind"], settled_one["action"]) == ("hold_without_task", "released")
    assert settled_one["settled_at"] == settled_one["found_at"]
    assert settled_one["amount_credits"] == 1.5
    assert [one["task_id"] for one in told["losses"]] == [
        shown("task", task) for task in reversed(late)
    ]
    first = told["losses"][0]
    assert (first["reason"], first["index"], first["amount_credits"]) == ("late_charge", None, 1.5)
    assert told["next_cursor"] is None


@pytest.mark.parametrize(("differences", "losses"), [(5, 3), (1, 4), (0, 3), (4, 0)])
async def test_pages_show_each_of_both_lists_once(
    credits_service: Credits, differences: int, losses: int
) -> None:
    tasks = await found(credits_service, differences), await lost(credits_service, losses)
    pages, query = [], "?limit=2"
    while True:
        pages.append(await seen(credits_service, query))
        if pages[-1]["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={pages[-1]['next_cursor']}"
    assert len(pages) == max(1, -(-differences // 2), -(-losses // 2))
    for name, expected in zip(("differences", "losses"), tasks, strict=True):
        told = [one["task_id"] for page in pages for one in page[name]]
        assert told == [shown("task", task) for task in reversed(expected)]


async def test_shows_open_differences_alone_to_who_asks_for_them(
    credits_service: Credits,
) -> None:
    (open_one,) = await found(credits_service, 1)
    await found(credits_service, 3, settled=True)
    told = await seen(credits_service, "?open=true&limit=1")
    assert [one["task_id"] for one in told["differences"]] == [shown("task", open_one)]
    assert told["next_cursor"] is None


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?limit=101", "?cursor=x", f"?cursor={'g' * 64}", f"?cursor={'0' * 63}"],
)
async def test_refuses_what_is_no_page(credits_service: Credits, query: str) -> None:
    assert (await ask(credits_service, query)).status_code == 422


async def test_shows_it_to_signed_in_admins_alone(credits_service: Credits) -> None:
    user = Identity(new_id(), new_id(), "user", "free", frozenset({"admin"}))
    key = Identity(new_id(), new_id(), "admin", "free", frozenset({"admin"}), key_id=new_id())
    for who in (user, key, ITSELF):
        assert (await ask(credits_service, who=who)).status_code == 403
    assert (await ask(credits_service, who=None)).status_code == 401
