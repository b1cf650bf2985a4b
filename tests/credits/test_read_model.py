"""The read models are what the events say, and can be made anew from them at any time."""

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from contracts.envelope import PublicEvent
from contracts.generation import LateOutputProduced
from contracts.storage import StorageMeasured
from kernel.clock import new_id
from kernel.projections import rebuild, verify
from kernel.unit import Unit
from services.credits.adapters.due_accounts import book
from services.credits.app import AGGREGATES
from services.credits.domain import (
    ACCOUNT,
    CODE,
    PLAN,
    SUBSCRIPTION,
    ChangePlan,
    CodeIssued,
    PostingKind,
    PostingMade,
    Redeem,
    TransferKind,
    change_plan,
    redeem,
)
from services.credits.read_model import READ_MODEL
from tests.credits.conftest import (
    NOW,
    Credits,
    cancelled,
    completed,
    created,
    failed,
    registered,
)
from tests.credits.test_due_accounts import due, give

SEED = 7
ADMIN = new_id()


async def rows(credits_service: Credits) -> dict[str, list[Mapping[str, Any]]]:
    """Of every table of the read model."""
    return {
        table.name: await credits_service.rows(
            f"SELECT * FROM {table} ORDER BY {', '.join(c.name for c in table.primary_key)}"
        )
        for table in READ_MODEL.tables.sorted_tables
    }


async def lived(credits_service: Credits) -> None:
    """A history in no order: some messages repeat, some endings come before their task. Then what
    admins do, what becomes due, and what comes too late."""
    dice = random.Random(SEED)  # noqa: S311 - a repeatable history, no secret
    accounts = [new_id() for _ in range(3)]
    messages: list[PublicEvent] = [registered(account) for account in accounts]
    late: list[PublicEvent] = []
    charged: dict[UUID, UUID] = {}
    for nth in range(16):
        account, task = dice.choice(accounts), new_id()
        price = dice.choice([10_000, 15_000, 80_000])
        end: PublicEvent = dice.choice(
            [completed(account, task, price), failed(account, task), cancelled(account, task)]
        )
        messages += [created(account, task, price), *dice.choices([end], k=dice.randint(0, 2))]
        messages.append(measured(account, nth))
        late.append(came_late(account, task, price))
        charged[task] = account
    dice.shuffle(messages)
    released = new_id()
    messages += [created(accounts[2], released, 1), cancelled(accounts[2], released)]
    await credits_service.hear(*messages)
    await credits_service.retry_all()
    await credits_service.hear(*late)
    await by_hand(credits_service, accounts)
    for row in await credits_service.rows("SELECT task_id FROM credits_read.usage_records"):
        task = row["task_id"]
        refund = PostingMade(
            f"refund-{task}", charged[task], PostingKind.REFUND, 3_000, "bad", ADMIN, task_id=task
        )
        await give(credits_service, refund)
    credits_service.clock.turn(timedelta(days=31))
    await due(credits_service).catch_up_some()


async def by_hand(credits_service: Credits, accounts: Sequence[UUID]) -> None:
    """Grants, an adjustment, other terms of a plan, and a code that is redeemed."""
    assert credits_service.service.store is not None
    store, clock = credits_service.service.store, credits_service.clock
    ends_at = clock.now() + timedelta(days=3)
    for account in accounts:
        gift = PostingMade(
            f"gift-{account}", account, PostingKind.GRANT, 500, "gift", ADMIN, expires_at=ends_at
        )
        await give(credits_service, gift)
        await give(
            credits_service,
            PostingMade(f"fix-{account}", account, PostingKind.ADJUST, 7, "error", ADMIN),
        )
    await credits_service.define("free", 90_000)
    await credits_service.define("studio", 700_000)
    issued = CodeIssued("ab12", 70, ADMIN, clock.now())

    async def redeeming(unit: Unit) -> None:
        code = CODE.stream_id("ab12")
        command = Redeem("ab12", accounts[0], clock.now())
        await unit.decide_on(((CODE, code),), lambda _: (issued,))
        await unit.decide_on(
            ((CODE, code), (ACCOUNT, ACCOUNT.stream_id(accounts[0]))),
            lambda code, account: redeem(command, code, account),
        )

    await store.transact(redeeming)

    async def changing(unit: Unit) -> None:
        command = ChangePlan(accounts[1], accounts[1], "studio", ADMIN, clock.now())
        recorded = await unit.decide_on(
            (
                (SUBSCRIPTION, SUBSCRIPTION.stream_id(accounts[1])),
                (ACCOUNT, ACCOUNT.stream_id(accounts[1])),
                (PLAN, PLAN.stream_id("studio")),
            ),
            lambda *states: change_plan(command, *states),
        )
        book(unit, recorded)

    await store.transact(changing)


def measured(account: UUID, nth: int) -> StorageMeasured:
    day = NOW.date() - timedelta(days=nth)
    return StorageMeasured(
        account_id=account, user_id=account, day=day, byte_hours=10**12 + nth * 10**11
    )


def came_late(account: UUID, task: UUID, price: int) -> LateOutputProduced:
    return LateOutputProduced(
        task_id=task,
        account_id=account,
        index=0,
        provider="kie",
        price_units=price,
        produced_at=NOW,
    )


async def test_rebuilding_gives_the_same_rows(credits_service: Credits) -> None:
    await lived(credits_service)
    before = await rows(credits_service)
    assert all(before.values()), "a table without rows proves nothing"
    kinds = {row["kind"] for row in before["credit_transactions"]}
    assert kinds | {"loss"} == {kind.value for kind in TransferKind}
    async with credits_service.platform.database.connection() as connection:
        await connection.execute("UPDATE credits_read.credits_balances SET held_units = 77")
        await connection.execute("DELETE FROM credits_read.credit_transactions")
    database = credits_service.platform.database
    assert await rebuild(database, "credits", READ_MODEL, AGGREGATES) > 20
    assert await rows(credits_service) == before


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
