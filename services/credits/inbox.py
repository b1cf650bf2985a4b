"""Messages in: public event -> own command, decided in the message's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.generation import TaskCancelled, TaskCompleted, TaskCreated, TaskFailed
from contracts.keys import UserRegistered
from kernel.inbox import Subscription
from kernel.messages import Aggregate
from kernel.unit import Unit
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    HOLD,
    Budget,
    Commit,
    LedgerCommand,
    MonthlyLimit,
    OpenAccount,
    Release,
    Reserve,
    decide,
    month_of,
    open_account,
)

Ended = TaskCompleted | TaskFailed | TaskCancelled


def subscriptions(grant_units_by_plan: Mapping[str, int]) -> Sequence[Subscription]:
    """What credits hears. Lanes are accounts: that is the stream where commands queue up."""

    async def open_on_registration(event: UserRegistered, unit: Unit) -> None:
        command = OpenAccount(
            account_id=event.account_id,
            user_id=event.user_id,
            plan=event.plan,
            grant_id=f"registration-{event.account_id}",
            grant_units=grant_units_by_plan.get(event.plan, 0),
        )
        await unit.decide_on(
            ((ACCOUNT, ACCOUNT.stream_id(event.account_id)),),
            lambda account: open_account(command, account),
        )

    return (
        Subscription(UserRegistered, open_on_registration, _account_of),
        Subscription(TaskCreated, reserve_price, _account_of, _ledger_and_budget_of),
        Subscription(TaskCompleted, settle, _account_of, _ledger_of),
        Subscription(TaskFailed, settle, _account_of, _ledger_of),
        Subscription(TaskCancelled, settle, _account_of, _ledger_of),
    )


async def reserve_price(event: TaskCreated, unit: Unit) -> None:
    """The price held, unless the account or the monthly limit of the key does not cover it."""
    limit = _limit_of(event, unit.now)
    command = Reserve(event.account_id, event.task_id, event.price_units, limit)
    await _on_ledger(unit, command, limit.key_id if limit is not None else None)


async def settle(event: Ended, unit: Unit) -> None:
    """What the task's outcome says is owed, and no more."""
    command: LedgerCommand
    if event.charged_units:
        month = month_of(unit.now)
        command = Commit(event.account_id, event.task_id, event.charged_units, month)
    else:
        command = Release(event.account_id, event.task_id)
    hold = await unit.state(HOLD, HOLD.stream_id(event.task_id))
    await _on_ledger(unit, command, hold.key_id)


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


def _limit_of(event: TaskCreated, now: datetime) -> MonthlyLimit | None:
    if event.key_id is None or event.monthly_credit_limit_units is None:
        return None
    return MonthlyLimit(event.key_id, event.monthly_credit_limit_units, month_of(now))


def _ledger_of(event: TaskCreated | Ended) -> Mapping[str, Aggregate[Any, Any]]:
    return {ACCOUNT.stream_id(event.account_id): ACCOUNT, HOLD.stream_id(event.task_id): HOLD}


def _ledger_and_budget_of(event: TaskCreated) -> Mapping[str, Aggregate[Any, Any]]:
    if event.key_id is None or event.monthly_credit_limit_units is None:
        return _ledger_of(event)
    return {**_ledger_of(event), BUDGET.stream_id(event.key_id): BUDGET}


def _account_of(event: UserRegistered | TaskCreated | Ended) -> str:
    account_id: UUID = event.account_id
    return str(account_id)
