"""The balance and the ledger as they were."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from kernel.clock import new_id
from tests.credits.conftest import Credits, completed, created, registered

PAST_AND_FUTURE = ("", "/history", "/history.csv")


def shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def balance_at(credits_service: Credits, account: Any, moment: datetime) -> dict[str, Any]:
    answer = await credits_service.get(f"?as_of={shown(moment)}", account)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_shows_the_balance_of_any_moment(credits_service: Credits) -> None:
    account, task, clock = new_id(), new_id(), credits_service.clock
    began = clock.now()
    clock.turn(timedelta(hours=1))
    await credits_service.hear(registered(account))
    granted = clock.now()
    clock.turn(timedelta(hours=1))
    await credits_service.hear(created(account, task, 15_000))
    held = clock.now()
    clock.turn(timedelta(hours=1))
    await credits_service.hear(completed(account, task, 10_000))
    moments = (began, granted, held - timedelta(seconds=1), held, clock.now())
    balances = [await balance_at(credits_service, account, moment) for moment in moments]
    assert [
        (one["total_credits"], one["used_credits"], one["reserved_credits"]) for one in balances
    ] == [(0, 0, 0), (10, 0, 0), (10, 0, 0), (10, 0, 1.5), (10, 1, 0)]


async def test_what_ends_is_known_for_now_alone(credits_service: Credits) -> None:
    refused = await credits_service.get("?ending=true&as_of=2026-01-01T00:00:00Z", new_id())
    assert (refused.status_code, refused.json()["details"]) == (422, {"field": "ending"})


async def test_shows_the_ledger_up_to_that_moment(credits_service: Credits) -> None:
    account, clock = new_id(), credits_service.clock
    began = clock.now() - timedelta(seconds=1)
    await credits_service.hear(registered(account), created(account, new_id(), 15_000))
    then = clock.now()
    clock.turn(timedelta(seconds=1))
    await credits_service.hear(created(account, new_id(), 15_000))

    async def kinds(path: str) -> list[str]:
        answer = await credits_service.get(path, account)
        return [entry["kind"] for entry in answer.json()["transactions"]]

    assert await kinds(f"/history?as_of={shown(then)}") == ["hold", "grant"]
    assert await kinds(f"/history?as_of={shown(began)}") == []
    first = (await credits_service.get(f"/history?as_of={shown(then)}&limit=1", account)).json()
    following = f"/history?as_of={shown(then)}&cursor={first['next_cursor']}"
    assert await kinds(following) == ["grant"]


@pytest.mark.parametrize("path", PAST_AND_FUTURE)
async def test_nobody_knows_the_future(credits_service: Credits, path: str) -> None:
    future = credits_service.clock.now() + timedelta(microseconds=1)
    answer = await credits_service.get(f"{path}?as_of={shown(future)}", new_id())
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert answer.json()["details"] == {"field": "as_of"}


@pytest.mark.parametrize("path", PAST_AND_FUTURE)
@pytest.mark.parametrize("text", ["yesterday", "2026-11-24", "2026-11-24T09:30:00", "1764000000"])
async def test_names_a_time_that_is_none(credits_service: Credits, path: str, text: str) -> None:
    answer = await credits_service.get(f"{path}?as_of={text}", new_id())
    assert answer.status_code == 422
    assert [item["field"] for item in answer.json()["details"]["fields"]] == ["as_of"]
