"""Messages in: public event -> own command, decided in the message's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from contracts.generation import (
    LateOutputProduced,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
)
from contracts.keys import UserRegistered
from contracts.storage import StorageMeasured
from kernel.inbox import Subscription
from kernel.messages import Aggregate
from kernel.unit import Unit
from services.credits.adapters.due_accounts import book
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    HOLD,
    PLAN,
    STORAGE_METER,
    SUBSCRIPTION,
    Budget,
    Commit,
    LedgerCommand,
    MeterStorage,
    MonthlyLimit,
    OpenAccount,
    Purpose,
    RecordLateDelivery,
    Release,
    Reserve,
    decide,
    meter_storage,
    open_account,
)

Ended = TaskCompleted | TaskFailed | TaskCancelled
Heads = Mapping[str, Aggregate[Any, Any]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator has set: a balance below `low_below_units` is low, and files cost
    `storage_units_per_gb_month`."""

    low_below_units: int = 0
    storage_units_per_gb_month: int = 0


def subscriptions(terms: Terms) -> Sequence[Subscription]:
    """What credits hears. Lanes are accounts: that is the stream where commands queue up."""

    async def reserve_price(event: TaskCreated, unit: Unit) -> None:
        await reserve(event, unit, terms.low_below_units)

    async def charge_storage(event: StorageMeasured, unit: Unit) -> None:
        command = MeterStorage(
            event.account_id,
            event.day,
            event.byte_hours,
            terms.storage_units_per_gb_month,
            unit.now,
            terms.low_below_units,
        )
        await unit.decide_on(
            (
                (STORAGE_METER, STORAGE_METER.stream_id(event.account_id)),
                (ACCOUNT, ACCOUNT.stream_id(event.account_id)),
            ),
            lambda meter, account: meter_storage(command, meter, account),
        )

    return (
        Subscription(UserRegistered, open_on_registration, _account_of, _opening_heads_of),
        Subscription(TaskCreated, reserve_price, _account_of, _ledger_and_budget_of),
        Subscription(TaskCompleted, settle, _account_of, _ledger_of),
        Subscription(TaskFailed, settle, _account_of, _ledger_of),
        Subscription(TaskCancelled, settle, _account_of, _ledger_of),
        Subscription(LateOutputProduced, bear_loss, _account_of, _ledger_of),
        Subscription(StorageMeasured, charge_storage, _account_of),
    )


async def open_on_registration(event: UserRegistered, unit: Unit) -> None:
    """The account, with the first grant of the plan."""
    command = OpenAccount(event.account_id, event.user_id, event.plan, unit.now)
    recorded = await unit.decide_on(
        (
            (SUBSCRIPTION, SUBSCRIPTION.stream_id(event.account_id)),
            (ACCOUNT, ACCOUNT.stream_id(event.account_id)),
            (PLAN, PLAN.stream_id(event.plan)),
        ),
        lambda _, account, plan: open_account(command, account, plan),
    )
    book(unit, recorded)


async def reserve(event: TaskCreated, unit: Unit, low_below_units: int = 0) -> None:
    """The price held, unless the account or the monthly limit of the key does not cover it."""
    limit = _limit_of(event)
    command = Reserve(
        event.account_id,
        event.task_id,
        event.price_units,
        unit.now,
        limit,
        Purpose(event.user_id, event.key_id, event.task_type, event.model_id),
        low_below_units,
    )
    await _on_ledger(unit, command, limit.key_id if limit is not None else None)


async def settle(event: Ended, unit: Unit) -> None:
    """What the task's outcome says is owed, and no more."""
    await end_hold(unit, event.account_id, event.task_id, event.charged_units, event.outcome)


async def end_hold(
    unit: Unit, account_id: UUID, task_id: UUID, charged_units: int, outcome: str
) -> None:
    """By a charge, or by a release where nothing is charged."""
    command: LedgerCommand
    if charged_units:
        command = Commit(account_id, task_id, charged_units, unit.now, outcome)
    else:
        command = Release(account_id, task_id, unit.now, outcome)
    hold = await unit.state(HOLD, HOLD.stream_id(task_id))
    await _on_ledger(unit, command, hold.key_id)


async def bear_loss(event: LateOutputProduced, unit: Unit) -> None:
    """On the platform's account for losses."""
    command = RecordLateDelivery(event.account_id, event.task_id, event.index, event.price_units)
    await _on_ledger(unit, command, None)


async def _on_ledger(unit: Unit, command: LedgerCommand, key_id: UUID | None) -> None:
    """`key_id` is the key whose budget counts too; most tasks have none."""
    parts: list[tuple[Aggregate[Any, Any], str]] = [
        (ACCOUNT, ACCOUNT.stream_id(command.account_id)),
        (HOLD, HOLD.stream_id(command.task_id)),
    ]
    if key_id is None:
        await unit.decide_on(parts, lambda account, hold: decide(command, account, hold, Budget()))
        return
    parts.append((BUDGET, BUDGET.stream_id(key_id)))
    await unit.decide_on(
        parts, lambda account, hold, budget: decide(command, account, hold, budget)
    )


def _limit_of(event: TaskCreated) -> MonthlyLimit | None:
    if event.key_id is None or event.monthly_credit_limit_units is None:
        return None
    return MonthlyLimit(event.key_id, event.monthly_credit_limit_units)


def _opening_heads_of(event: UserRegistered) -> Heads:
    return {
        SUBSCRIPTION.stream_id(event.account_id): SUBSCRIPTION,
        ACCOUNT.stream_id(event.account_id): ACCOUNT,
        PLAN.stream_id(event.plan): PLAN,
    }


def _ledger_of(event: TaskCreated | Ended | LateOutputProduced) -> Heads:
    return {ACCOUNT.stream_id(event.account_id): ACCOUNT, HOLD.stream_id(event.task_id): HOLD}


def _ledger_and_budget_of(event: TaskCreated) -> Heads:
    if event.key_id is None or event.monthly_credit_limit_units is None:
        return _ledger_of(event)
    return {**_ledger_of(event), BUDGET.stream_id(event.key_id): BUDGET}


def _account_of(
    event: UserRegistered | TaskCreated | Ended | LateOutputProduced | StorageMeasured,
) -> str:
    account_id: UUID = event.account_id
    return str(account_id)
