"""The read models are what the events say, and can be made anew from them at any time."""

import random
from collections.abc import Mapping
from typing import Any

from contracts.envelope import PublicEvent
from kernel.clock import new_id
from kernel.projections import rebuild, verify
from services.credits.app import AGGREGATES
from services.credits.read_model import READ_MODEL
from tests.credits.conftest import (
    Credits,
    cancelled,
    completed,
    created,
    failed,
    registered,
)

SEED = 7


async def rows(credits_service: Credits) -> dict[str, list[Mapping[str, Any]]]:
    return {
        table: await credits_service.rows(f"SELECT * FROM credits_read.{table} ORDER BY {key}")
        for table, key in (
            ("credits_balances", "account_id"),
            ("credit_transactions", "account_id, account_version"),
        )
    }


async def lived(credits_service: Credits) -> None:
    """A history in no order: some messages repeat, some endings come before their task."""
    dice = random.Random(SEED)  # noqa: S311 - a repeatable history, no secret
    accounts = [new_id() for _ in range(3)]
    messages: list[PublicEvent] = [registered(account) for account in accounts]
    for _ in range(16):
        account, task = dice.choice(accounts), new_id()
        price = dice.choice([10_000, 15_000, 80_000])
        end: PublicEvent = dice.choice(
            [completed(account, task, price), failed(account, task), cancelled(account, task)]
        )
        messages += [created(account, task, price), *dice.choices([end], k=dice.randint(0, 2))]
    dice.shuffle(messages)
    await credits_service.hear(*messages)
    await credits_service.retry_all()


async def test_rebuilding_gives_the_same_rows(credits_service: Credits) -> None:
    await lived(credits_service)
    before = await rows(credits_service)
    async with credits_service.platform.database.connection() as connection:
        await connection.execute("UPDATE credits_read.credits_balances SET held_units = 77")
        await connection.execute("DELETE FROM credits_read.credit_transactions")
    database = credits_service.platform.database
    assert await rebuild(database, "credits", READ_MODEL, AGGREGATES) > 20
    assert await rows(credits_service) == before
    assert len(before["credits_balances"]) == 3


async def test_every_head_is_the_fold_of_its_events(credits_service: Credits) -> None:
    await lived(credits_service)
    assert await verify(credits_service.platform.database, "credits", AGGREGATES) == []


async def test_the_ledger_adds_up_to_the_balance_at_every_entry(credits_service: Credits) -> None:
    await lived(credits_service)
    found = await rows(credits_service)
    last: dict[Any, Mapping[str, Any]] = {}
    for entry in found["credit_transactions"]:
        assert entry["granted_after"] - entry["used_after"] - entry["held_after"] >= 0
        last[entry["account_id"]] = entry
    for balance in found["credits_balances"]:
        entry = last[balance["account_id"]]
        for name in ("granted", "used", "held"):
            assert balance[f"{name}_units"] == entry[f"{name}_after"]
