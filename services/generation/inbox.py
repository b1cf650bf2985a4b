"""Messages in: public event -> own command, decided in the message's transaction."""

from collections.abc import Sequence

from contracts.credits import CreditsDeclined, CreditsReserved
from contracts.keys import UserDisabled, UserErased
from contracts.storage import FileDeleted, FileUploaded, OutputRejected, OutputStored
from kernel.inbox import Subscription
from kernel.leavers import record_erasure, record_leaver
from kernel.unit import Unit
from services.generation.adapters.due_list import record_job, record_met
from services.generation.adapters.uploaded_files import record_deleted, record_uploaded
from services.generation.domain.input_images import is_uploaded_key
from services.generation.domain.messages import (
    FailTask,
    HearDeclined,
    HearGone,
    HearReserved,
    HearStored,
    MonthlyLimitReached,
    TaskCommand,
)
from services.generation.domain.naming import output_of
from services.generation.domain.task import SAGA, TASK

ERASED = "erased"
"""Storage's reason for what goes with its user."""
UNSAFE = "unsafe_output"
"""Storage's code for what may not be shown."""

Heard = CreditsReserved | CreditsDeclined | OutputStored | OutputRejected


def subscriptions() -> Sequence[Subscription]:
    """What generation hears. Lanes are tasks, users, or files."""

    async def start_jobs(event: CreditsReserved, unit: Unit) -> None:
        """One provider job for each output, in the transaction that queues the task."""
        recorded = await _on_task(event, unit, HearReserved(unit.now))
        if not recorded:
            return
        task = await unit.state(TASK, TASK.stream_id(event.task_id))
        for index in range(task.outputs):
            record_job(
                unit,
                task_id=event.task_id,
                output_index=index,
                attempt=1,
                provider=task.provider,
                model=task.vendor_model,
                due_at=unit.now,
                key_owner_id=task.user_id if task.own_key else None,
                user_id=task.user_id,
            )

    return (
        Subscription(CreditsReserved, start_jobs, _task_of),
        Subscription(CreditsDeclined, decline, _task_of),
        Subscription(OutputStored, keep_output, _task_of),
        Subscription(OutputRejected, fail_delivery, _task_of),
        Subscription(FileUploaded, know_upload, lambda event: event.file.key),
        Subscription(FileDeleted, lose_file, _lane_of),
        Subscription(UserDisabled, shut_out, _user_of),
        Subscription(UserErased, erase, _user_of),
    )


async def decline(event: CreditsDeclined, unit: Unit) -> None:
    limited = None
    if event.limit_units is not None:
        limited = MonthlyLimitReached(event.limit_units, event.used_units or 0)
    command = HearDeclined(event.required_units, event.available_units, unit.now, limited)
    if await _on_task(event, unit, command):
        record_met(unit, event.task_id)


async def keep_output(event: OutputStored, unit: Unit) -> None:
    file = event.file.model_dump(mode="json")
    await _on_task(event, unit, HearStored(event.index, file, unit.now))


async def fail_delivery(event: OutputRejected, unit: Unit) -> None:
    outcome = "output_moderated" if event.code == UNSAFE else "delivery_failed"
    await _on_task(event, unit, FailTask(outcome, event.code, event.message, unit.now))


async def know_upload(event: FileUploaded, unit: Unit) -> None:
    """Pictures alone: nothing else is a picture to begin with."""
    if is_uploaded_key(event.file.key):
        record_uploaded(unit, event.user_id, event.file)


async def lose_file(event: FileDeleted, unit: Unit) -> None:
    """An upload, or a task's output: of an erased user's there is nobody to tell."""
    output = output_of(event.key)
    if is_uploaded_key(event.key):
        record_deleted(unit, event.key)
    elif output is not None and event.reason != ERASED:
        task_id, index = output
        await unit.decide(SAGA, TASK.stream_id(task_id), HearGone(index, unit.now))


async def shut_out(event: UserDisabled, unit: Unit) -> None:
    record_leaver(unit, "generation.shut_outs", event.user_id, event.disabled_at)


async def erase(event: UserErased, unit: Unit) -> None:
    record_erasure(unit, "generation", event.user_id, event.erased_at)


async def _on_task(event: Heard, unit: Unit, command: TaskCommand) -> bool:
    """Whether anything followed."""
    return bool(await unit.decide(SAGA, TASK.stream_id(event.task_id), command))


def _task_of(event: Heard) -> str:
    return str(event.task_id)


def _lane_of(event: FileDeleted) -> str:
    output = output_of(event.key)
    return event.key if output is None else str(output[0])


def _user_of(event: UserDisabled | UserErased) -> str:
    return f"user-{event.user_id}"
