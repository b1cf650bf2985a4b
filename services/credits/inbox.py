"""Messages in: public event -> own command, decided in the message's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from contracts.generation import TaskCancelled, TaskCompleted, TaskCreated, TaskFailed
from contracts.keys import UserRegistered
from kernel.inbox import Subscription
from kernel.messages import Aggregate
from kernel.unit import Unit
from services.credits.domain import (
    ACCOUNT,
    HOLD,
    Commit,
    LedgerCommand,
    OpenAccount,
    Release,
    Reserve,
    decide,
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
        Subscription(TaskCreated, reserve_price, _account_of, _ledger_of),
        Subscription(TaskCompleted, settle, _account_of, _ledger_of),
        Subscription(TaskFailed, settle, _account_of, _ledger_of),
        Subscription(TaskCancelled, settle, _account_of, _ledger_of),
    )


async def reserve_price(event: TaskCreated, unit: Unit) -> None:
    await _on_ledger(unit, Reserve(event.account_id, event.task_id, event.price_units))


async def settle(event: Ended, unit: Unit) -> None:
    """What the task's outcome says is owed, and no more."""
    if event.charged_units:
        await _on_ledger(unit, Commit(event.account_id, event.task_id, event.charged_units))
    else:
        await _on_ledger(unit, Release(event.account_id, event.task_id))


async def _on_ledger(unit: Unit, command: LedgerCommand) -> None:
    await unit.decide_on(
        (
            (ACCOUNT, ACCOUNT.stream_id(command.account_id)),
            (HOLD, HOLD.stream_id(command.task_id)),
        ),
        lambda account, hold: decide(command, account, hold),
    )


def _ledger_of(event: TaskCreated | Ended) -> Mapping[str, Aggregate[Any, Any]]:
    return {ACCOUNT.stream_id(event.account_id): ACCOUNT, HOLD.stream_id(event.task_id): HOLD}


def _account_of(event: UserRegistered | TaskCreated | Ended) -> str:
    account_id: UUID = event.account_id
    return str(account_id)
