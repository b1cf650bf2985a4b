"""Messages in: public event -> own command, decided in the message's transaction."""

from collections.abc import Sequence

from contracts.credits import PlanChanged
from contracts.generation import OutputProduced, TaskRemoved
from contracts.keys import UserErased
from kernel.inbox import Subscription
from kernel.leavers import record_erasure, record_leaver
from kernel.unit import Unit
from services.storage.adapters.due_list import REMOVALS, record_fetch
from services.storage.adapters.plans import record_plan
from services.storage.domain import OUTPUTS, ExpectOutput, stream_of


def subscriptions() -> Sequence[Subscription]:
    """What storage hears. Lanes are outputs, of which no two share a stream, tasks, or users."""
    return (
        Subscription(OutputProduced, expect_output, _output_of),
        Subscription(TaskRemoved, remove, _task_of),
        Subscription(UserErased, erase, _user_of),
        Subscription(PlanChanged, change_plan, _user_of),
    )


async def expect_output(event: OutputProduced, unit: Unit) -> None:
    """Put the output on the due-list; the worker fetches it, never a handler."""
    command = ExpectOutput(
        task_id=event.task_id,
        user_id=event.user_id,
        index=event.index,
        task_type=event.task_type,
        width=event.width,
        height=event.height,
        duration_seconds=event.duration_seconds,
        mime_type=event.mime_type,
        account_id=event.account_id,
        model_id=event.model_id,
    )
    if await unit.decide(OUTPUTS, _output_of(event), command):
        record_fetch(unit, command, event.url, event.object_key)


async def remove(event: TaskRemoved, unit: Unit) -> None:
    record_leaver(unit, REMOVALS, event.task_id, event.removed_at, key="task_id")


async def erase(event: UserErased, unit: Unit) -> None:
    record_erasure(unit, "storage", event.user_id, event.erased_at)


async def change_plan(event: PlanChanged, unit: Unit) -> None:
    """Kept for what goes on without the user, whose requests say the plan themselves."""
    record_plan(unit, event.user_id, event.account_id, event.plan, event.changed_at)


def _output_of(event: OutputProduced) -> str:
    return stream_of(event.task_id, event.index)


def _task_of(event: TaskRemoved) -> str:
    return f"task-{event.task_id}"


def _user_of(event: UserErased | PlanChanged) -> str:
    return f"user-{event.user_id}"
