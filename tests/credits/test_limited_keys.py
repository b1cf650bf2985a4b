"""What credits does for tasks of an API key with a monthly limit, whatever comes when."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.generation import TaskCreated
from kernel.clock import new_id
from kernel.inbox import Inbox
from kernel.projections import verify
from kernel.testing import envelope_of
from services.credits.app import AGGREGATES
from services.credits.inbox import subscriptions
from services.credits.read_model import Balance
from tests.credits.conftest import (
    GRANT_UNITS,
    TERMS,
    Credits,
    cancelled,
    completed,
    created,
    failed,
    registered,
)

LIMIT_UNITS = 30_000
PRICE_UNITS = 10_000


@pytest.fixture
async def account(credits_service: Credits) -> UUID:
    account = new_id()
    await credits_service.hear(registered(account))
    return account


def asked(account: UUID, key: UUID, task: UUID | None = None) -> TaskCreated:
    task = task or new_id()
    return created(account, task, PRICE_UNITS, key_id=key, limit_units=LIMIT_UNITS)


async def refusals(credits_service: Credits) -> list[dict[str, Any]]:
    rows = await credits_service.rows(
        "SELECT envelope->'data' AS data FROM credits.outbox"
        " WHERE envelope->>'type' = 'CreditsDeclined' ORDER BY id"
    )
    return [row["data"] for row in rows]


async def held_units(credits_service: Credits, account: UUID) -> int:
    return (await credits_service.balance(account)).reserved_units


async def test_refuses_beyond_the_limit_and_says_limit_used_and_required(
    credits_service: Credits, account: UUID
) -> None:
    key = new_id()
    await credits_service.hear(*(asked(account, key) for _ in range(4)))
    assert await held_units(credits_service, account) == LIMIT_UNITS
    [refusal] = await refusals(credits_service)
    assert refusal["reason"] == "monthly_credit_limit_reached"
    assert (refusal["limit_units"], refusal["used_units"]) == (LIMIT_UNITS, LIMIT_UNITS)
    assert refusal["required_units"] == PRICE_UNITS


async def test_another_key_of_the_account_has_a_budget_of_its_own(
    credits_service: Credits, account: UUID
) -> None:
    await credits_service.hear(*(asked(account, key) for key in (new_id(), new_id()) * 4))
    assert await held_units(credits_service, account) == 2 * LIMIT_UNITS


async def test_a_key_without_a_limit_and_a_person_signed_in_have_no_budget(
    credits_service: Credits, account: UUID
) -> None:
    await credits_service.hear(
        *(created(account, new_id(), PRICE_UNITS, key_id=new_id()) for _ in range(5)),
        *(created(account, new_id(), PRICE_UNITS, limit_units=0) for _ in range(5)),
    )
    assert await held_units(credits_service, account) == GRANT_UNITS
    assert (
        await credits_service.rows("SELECT 1 FROM credits.streams WHERE stream_id ~ '^budget'")
        == []
    )


async def test_what_ends_without_a_charge_gives_its_part_of_the_budget_back(
    credits_service: Credits, account: UUID
) -> None:
    key, tasks = new_id(), [new_id() for _ in range(3)]
    await credits_service.hear(
        *(asked(account, key, task) for task in tasks),
        failed(account, tasks[0]),
        cancelled(account, tasks[1]),
        completed(account, tasks[2], PRICE_UNITS),
        *(asked(account, key) for _ in range(3)),
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 10_000, 20_000)
    assert len(await refusals(credits_service)) == 1


async def test_the_month_ends_by_the_clock_and_what_is_held_goes_along(
    credits_service: Credits, account: UUID
) -> None:
    clock, key, tasks = credits_service.clock, new_id(), [new_id() for _ in range(3)]
    await credits_service.hear(
        *(asked(account, key, task) for task in tasks),
        *(completed(account, task, PRICE_UNITS) for task in tasks[:2]),
    )
    now = clock.now()
    first = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    clock.turn(first - now - timedelta(microseconds=1))
    await credits_service.inbox.maintain()
    await credits_service.hear(asked(account, key))
    assert len(await refusals(credits_service)) == 1
    clock.turn(timedelta(microseconds=1))
    await credits_service.hear(*(asked(account, key) for _ in range(3)))
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 20_000, 30_000)
    assert len(await refusals(credits_service)) == 2


async def test_messages_of_a_limited_key_may_come_twice_and_in_any_order(
    credits_service: Credits, account: UUID
) -> None:
    key, tasks = new_id(), [new_id() for _ in range(2)]
    heard = await credits_service.hear(
        failed(account, tasks[0]),
        completed(account, tasks[1], PRICE_UNITS),
        *(asked(account, key, task) for task in tasks * 2),
    )
    await credits_service.retry_all()
    for envelope in heard:
        await credits_service.inbox.receive(envelope)
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, PRICE_UNITS, 0)
    [head] = await credits_service.rows(
        "SELECT state FROM credits.streams WHERE stream_id ~ '^budget'"
    )
    assert (head["state"]["used_units"], head["state"]["held_units"]) == (PRICE_UNITS, 0)


async def test_many_tasks_of_one_key_at_once_never_exceed_its_limit(
    credits_service: Credits, account: UUID
) -> None:
    """Two processes hear them at once, each more than once."""
    key = new_id()
    messages = [envelope_of(asked(account, key)) for _ in range(10)]
    assert credits_service.service.store is not None
    other = Inbox("credits", credits_service.service.store, subscriptions(TERMS))
    await asyncio.gather(
        *(
            inbox.receive(message)
            for message in messages
            for inbox in (credits_service.inbox, other)
        )
    )
    assert await held_units(credits_service, account) == LIMIT_UNITS
    said = await credits_service.said()
    assert (said.count("CreditsReserved"), said.count("CreditsDeclined")) == (3, 7)
    assert await verify(credits_service.platform.database, "credits", AGGREGATES) == []
