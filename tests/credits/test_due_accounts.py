"""What becomes due by itself: months of plans, ends of grants, and days of storage."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.storage import StorageMeasured
from kernel.clock import new_id
from kernel.projections import verify
from services.credits.adapters import due_accounts
from services.credits.adapters.due_accounts import DueAccounts, book
from services.credits.app import AGGREGATES
from services.credits.domain import ACCOUNT, HOLD, POSTING, PostingKind, PostingMade, catch_up, post
from services.credits.read_model import Balance
from tests.credits.conftest import (
    GRANT_UNITS,
    Credits,
    cancelled,
    completed,
    created,
    registered,
)

MONTH = timedelta(days=31)
A_GB_MONTH = 24 * 30 * 10**9


def due(credits_service: Credits) -> DueAccounts:
    assert credits_service.service.store is not None
    return DueAccounts(credits_service.service.store)


async def kinds(credits_service: Credits) -> list[str]:
    rows = await credits_service.rows(
        "SELECT kind FROM credits_read.credit_transactions ORDER BY account_version"
    )
    return [row["kind"] for row in rows]


async def give(credits_service: Credits, asked: PostingMade) -> None:
    async def work(unit: Any) -> None:
        recorded = await unit.decide_on(
            (
                (POSTING, POSTING.stream_id(asked.posting_id)),
                (ACCOUNT, ACCOUNT.stream_id(asked.account_id)),
                (HOLD, HOLD.stream_id(asked.task_id)),
            ),
            lambda *states: post(asked, unit.now, *states),
        )
        book(unit, recorded)

    assert credits_service.service.store is not None
    await credits_service.service.store.transact(work)


async def test_nothing_is_due_before_the_month_has_turned(credits_service: Credits) -> None:
    await credits_service.hear(registered(new_id()))
    assert await due(credits_service).catch_up_some() == 0


async def test_the_months_grant_comes_and_what_was_left_of_the_last_one_ends(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), created(account, task, 15_000), completed(account, task, 15_000)
    )
    credits_service.clock.turn(MONTH)
    assert await due(credits_service).catch_up_some() == 1
    assert await credits_service.balance(account) == Balance(GRANT_UNITS + 15_000, 15_000, 0)
    assert await kinds(credits_service) == ["grant", "hold", "commit", "expire", "grant"]
    assert await due(credits_service).catch_up_some() == 0


async def test_the_month_after_is_booked_with_the_month(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    for _ in range(3):
        credits_service.clock.turn(MONTH)
        assert await due(credits_service).catch_up_some() == 1
    assert (await kinds(credits_service)).count("grant") == 4


async def test_two_processes_grant_a_month_once(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    credits_service.clock.turn(MONTH)
    await asyncio.gather(*(due(credits_service).catch_up_some() for _ in range(4)))
    assert (await credits_service.balance(account)).available_units == GRANT_UNITS
    database = credits_service.platform.database
    assert await verify(database, "credits", AGGREGATES) == []


async def test_a_grant_that_has_ended_counts_no_more_before_anybody_has_noticed(
    credits_service: Credits,
) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    ends_at = credits_service.clock.now() + timedelta(hours=1)
    await give(
        credits_service,
        PostingMade("p-1", account, PostingKind.GRANT, 500, "gift", new_id(), expires_at=ends_at),
    )
    assert (await credits_service.balance(account)).available_units == GRANT_UNITS + 500
    credits_service.clock.turn(timedelta(hours=1))
    assert (await credits_service.balance(account)).available_units == GRANT_UNITS
    assert await due(credits_service).catch_up_some() == 1
    assert (await credits_service.balance(account)).available_units == GRANT_UNITS
    assert (await kinds(credits_service))[-1] == "expire"


async def test_what_is_given_back_after_its_end_is_gone(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(registered(account))
    ends_at = credits_service.clock.now() + timedelta(hours=1)
    await give(
        credits_service,
        PostingMade("p-1", account, PostingKind.GRANT, 9_000, "gift", new_id(), expires_at=ends_at),
    )
    await credits_service.hear(created(account, task, 15_000))
    credits_service.clock.turn(timedelta(hours=1))
    await due(credits_service).catch_up_some()
    await credits_service.hear(cancelled(account, task))
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 0)


async def test_an_account_that_can_not_be_caught_up_with_does_not_keep_others_waiting(
    credits_service: Credits, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = new_id(), new_id()
    await credits_service.hear(registered(bad), registered(good))
    credits_service.clock.turn(MONTH)

    def failing(command: Any, *states: Any) -> Any:
        if command.account_id == bad:
            raise RuntimeError("a bug")
        return catch_up(command, *states)

    monkeypatch.setattr(due_accounts, "catch_up", failing)
    assert await due(credits_service).catch_up_some() == 2
    assert await due(credits_service).catch_up_some() == 0
    assert (await credits_service.balance(good)).available_units == GRANT_UNITS
    monkeypatch.undo()
    credits_service.clock.turn(due_accounts.AGAIN_AFTER)
    await due(credits_service).catch_up_some()
    assert (await credits_service.balance(bad)).available_units == GRANT_UNITS


async def test_a_day_of_storage_is_charged_once_however_often_it_is_told(
    credits_service: Credits,
) -> None:
    account = new_id()
    day = datetime(2026, 11, 14, tzinfo=UTC).date()
    measured = StorageMeasured(
        account_id=account, user_id=account, day=day, byte_hours=3 * A_GB_MONTH
    )
    await credits_service.hear(registered(account), measured, measured)
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 300, 0)
    assert (await credits_service.said()).count("StorageCharged") == 1


async def test_says_once_that_a_balance_has_become_low(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(
        registered(account), *(created(account, new_id(), 15_000) for _ in range(6))
    )
    assert (await credits_service.balance(account)).available_units == 10_000
    assert (await credits_service.said()).count("BalanceLow") == 1
