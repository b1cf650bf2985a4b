"""The saga of one generation, as a decider: a task asks credits, a provider, then storage.

pending (waits for credits) -> queued -> processing -> storing -> completed; from each to failed or
cancelled. A late or repeated input never moves a task backwards, and a task that has ended stays as
it ended, until its user removes it. Inputs may come in any order: what is too early is `Deferred`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from kernel.errors import Deferred, NotFound, Rejected
from kernel.messages import Aggregate, Decider
from services.generation.domain.messages import (
    CancelTask,
    CreateTask,
    FailTask,
    GiveUpReserving,
    HearDeclined,
    HearGone,
    HearReserved,
    HearStored,
    OutputCameLate,
    OutputGone,
    OutputKept,
    OutputProduced,
    ProviderAttemptFailed,
    ProviderJobSubmitted,
    RecordAttemptFailed,
    RecordProduced,
    RecordSubmitted,
    RemoveTask,
    TaskCancelled,
    TaskCommand,
    TaskCompleted,
    TaskCreated,
    TaskDeclined,
    TaskEvent,
    TaskFailed,
    TaskRemoved,
    TaskReserved,
    TaskStarted,
)
from services.generation.domain.outcomes import charged_units
from services.generation.domain.prices import LengthPrice

NOBODY = UUID(int=0)


class Stage(StrEnum):
    NONE = "none"
    PENDING = "pending"
    QUEUED = "queued"
    PROCESSING = "processing"
    STORING = "storing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"

    @property
    def ended(self) -> bool:
        return self in {Stage.COMPLETED, Stage.FAILED, Stage.CANCELLED, Stage.REMOVED}


@dataclass(frozen=True, slots=True)
class Task:
    """`produced`, `kept`, `gone` (deleted since) and `late` (made after the task had ended) are the
    indexes of outputs, ascending; sizes, `meter` and `vendor_model` as `CreateTask` has them; with
    `own_key` it is made under its user's own key of the provider, to its end."""

    stage: Stage = Stage.NONE
    task_id: UUID = NOBODY
    user_id: UUID = NOBODY
    account_id: UUID = NOBODY
    task_type: str = ""
    model_id: str = ""
    price_units: int = 0
    outputs: int = 0
    width: int | None = None
    height: int | None = None
    produced: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    own_key: bool = False
    late: tuple[int, ...] = ()
    duration_s: float | None = None
    mime_type: str | None = None
    meter: LengthPrice | None = None
    provider: str = ""
    vendor_model: str = ""
    gone: tuple[int, ...] = ()


def evolve(state: Task, event: TaskEvent) -> Task:
    match event:
        case TaskCreated():
            return Task(
                stage=Stage.PENDING,
                task_id=event.task_id,
                user_id=event.user_id,
                account_id=event.account_id,
                task_type=event.task_type,
                model_id=event.model_id,
                price_units=event.price_units,
                outputs=event.outputs,
                width=event.width,
                height=event.height,
                own_key=event.own_key,
                duration_s=event.duration_s,
                mime_type=event.mime_type,
                meter=event.meter,
                provider=event.provider,
                vendor_model=event.vendor_model,
            )
        case TaskReserved():
            return replace(state, stage=Stage.QUEUED)
        case TaskStarted():
            return replace(state, stage=Stage.PROCESSING)
        case OutputProduced():
            produced = tuple(sorted({*state.produced, event.index}))
            stage = Stage.STORING if len(produced) == state.outputs else state.stage
            return replace(state, stage=stage, produced=produced)
        case OutputKept():
            return replace(state, kept=tuple(sorted({*state.kept, event.index})))
        case OutputGone():
            return replace(state, gone=tuple(sorted({*state.gone, event.index})))
        case OutputCameLate():
            return replace(state, late=tuple(sorted({*state.late, event.index})))
        case TaskCompleted():
            return replace(state, stage=Stage.COMPLETED)
        case TaskDeclined() | TaskFailed():
            return replace(state, stage=Stage.FAILED)
        case TaskCancelled():
            return replace(state, stage=Stage.CANCELLED)
        case TaskRemoved():
            return replace(state, stage=Stage.REMOVED)
        case ProviderJobSubmitted() | ProviderAttemptFailed():
            return state
        case _:
            assert_never(event)


def decide(command: TaskCommand, state: Task) -> Sequence[TaskEvent]:
    """Raises `NotFound` for a task that was never created, `Deferred` for what is too early,
    `Rejected` for the removal of a task that goes on."""
    if isinstance(command, CreateTask):
        return () if state.stage != Stage.NONE else (_created(command),)
    if state.stage == Stage.NONE:
        raise NotFound("task_not_found", "There is no such task.")
    if isinstance(command, HearGone):
        return _gone(command, state)
    if state.stage.ended:
        return _after_its_end(command, state)
    match command:
        case HearReserved():
            return _reserved(command, state)
        case HearDeclined():
            return _declined(command, state)
        case GiveUpReserving():
            return _given_up(command, state)
        case RecordSubmitted():
            return _submitted(command, state)
        case RecordAttemptFailed():
            return _attempt_failed(command, state)
        case RecordProduced():
            return _produced(command, state)
        case HearStored():
            return _stored(command, state)
        case FailTask():
            return (_failed(command, state),)
        case CancelTask():
            return (_cancelled(command, state),)
        case RemoveTask():
            raise Rejected("task_active", "The task goes on; only one that has ended is removed.")
        case _:
            assert_never(command)


def _after_its_end(command: TaskCommand, state: Task) -> Sequence[TaskEvent]:
    if isinstance(command, RecordProduced):
        return _too_late(command, state)
    if isinstance(command, RemoveTask) and state.stage != Stage.REMOVED:
        return (TaskRemoved(state.task_id, state.user_id, state.outputs, command.at),)
    return ()


def _created(command: CreateTask) -> TaskCreated:
    return TaskCreated(
        task_id=command.task_id,
        user_id=command.user_id,
        account_id=command.account_id,
        key_id=command.key_id,
        monthly_credit_limit_units=command.monthly_credit_limit_units,
        task_type=command.task_type,
        model_id=command.model_id,
        provider=command.provider,
        price_units=command.price_units,
        outputs=command.outputs,
        width=command.width,
        height=command.height,
        prompt_sha256=command.prompt_sha256,
        deadline_at=command.deadline_at,
        at=command.at,
        own_key=command.own_key,
        duration_s=command.duration_s,
        mime_type=command.mime_type,
        meter=command.meter,
        price_book=command.price_book,
        vendor_model=command.vendor_model,
    )


def _reserved(command: HearReserved, state: Task) -> Sequence[TaskEvent]:
    return (TaskReserved(state.task_id, command.at),) if state.stage == Stage.PENDING else ()


def _declined(command: HearDeclined, state: Task) -> Sequence[TaskEvent]:
    if state.stage != Stage.PENDING:
        return ()
    return (
        TaskDeclined(
            state.task_id,
            command.required_units,
            command.available_units,
            command.at,
            command.limited,
        ),
    )


def _given_up(command: GiveUpReserving, state: Task) -> Sequence[TaskEvent]:
    if state.stage != Stage.PENDING:
        return ()
    failure = FailTask(
        "credits_unavailable",
        "credits_unavailable",
        "The ledger did not answer in time; nothing was charged.",
        command.at,
    )
    return (_failed(failure, state),)


def _submitted(command: RecordSubmitted, state: Task) -> Sequence[TaskEvent]:
    if state.stage == Stage.PENDING:
        raise Deferred(f"task {state.task_id} has no credits yet")
    submitted = ProviderJobSubmitted(
        state.task_id,
        command.index,
        command.attempt,
        command.provider,
        command.provider_job_id,
        command.at,
    )
    if state.stage != Stage.QUEUED:
        return (submitted,)
    started = TaskStarted(state.task_id, state.user_id, command.provider, command.at)
    return submitted, started


def _attempt_failed(command: RecordAttemptFailed, state: Task) -> Sequence[TaskEvent]:
    if state.stage == Stage.PENDING:
        raise Deferred(f"task {state.task_id} has no credits yet")
    return (
        ProviderAttemptFailed(
            state.task_id,
            command.index,
            command.attempt,
            command.provider,
            command.fault,
            command.at,
        ),
    )


def _produced(command: RecordProduced, state: Task) -> Sequence[TaskEvent]:
    if state.stage in {Stage.PENDING, Stage.QUEUED}:
        raise Deferred(f"task {state.task_id} has no job yet")
    if command.index in state.produced:
        return ()
    return (
        OutputProduced(
            task_id=state.task_id,
            user_id=state.user_id,
            account_id=state.account_id,
            index=command.index,
            task_type=state.task_type,
            url=command.url,
            object_key=command.object_key,
            width=state.width,
            height=state.height,
            at=command.at,
            duration_s=state.duration_s,
            mime_type=state.mime_type,
            model_id=state.model_id,
        ),
    )


def _too_late(command: RecordProduced, state: Task) -> Sequence[TaskEvent]:
    """Once for each output; one that was made in time is none."""
    if command.index in state.produced or command.index in state.late:
        return ()
    return (
        OutputCameLate(
            state.task_id,
            state.account_id,
            command.index,
            command.provider,
            _share_units(state, command.index),
            command.at,
        ),
    )


def _share_units(state: Task, index: int) -> int:
    """What one output is of the price: all of them together are the whole of it."""
    each, rest = divmod(state.price_units, state.outputs)
    return each + rest if index == 0 else each


def _stored(command: HearStored, state: Task) -> Sequence[TaskEvent]:
    if command.index in state.kept:
        return ()
    if command.index not in state.produced:
        raise Deferred(f"output {command.index} of task {state.task_id} is not produced yet")
    kept = OutputKept(state.task_id, command.index, command.file, command.at)
    if len(state.kept) + 1 < state.outputs:
        return (kept,)
    completed = TaskCompleted(
        task_id=state.task_id,
        user_id=state.user_id,
        account_id=state.account_id,
        model_id=state.model_id,
        charged_units=charged_units("completed", _owed_units(command, state)),
        outcome="completed",
        at=command.at,
    )
    return kept, completed


def _gone(command: HearGone, state: Task) -> Sequence[TaskEvent]:
    """Once; of what was never shown, or is not shown any more, nothing."""
    if command.index in state.kept:
        told = command.index in state.gone or state.stage == Stage.REMOVED
        return () if told else (OutputGone(state.task_id, command.index, command.at),)
    if state.stage.ended:
        return ()
    raise Deferred(f"output {command.index} of task {state.task_id} is not kept yet")


def _owed_units(command: HearStored, state: Task) -> int:
    """Of what is metered, the price of its real length, and never more than was reserved."""
    length_s = command.file.get("duration_seconds")
    if state.meter is None or length_s is None:
        return state.price_units
    return min(state.price_units, state.meter.of(length_s))


def _failed(command: FailTask, state: Task) -> TaskFailed:
    return TaskFailed(
        task_id=state.task_id,
        user_id=state.user_id,
        account_id=state.account_id,
        code=command.code,
        message=command.message,
        charged_units=charged_units(command.outcome, state.price_units),
        outcome=command.outcome,
        at=command.at,
    )


def _cancelled(command: CancelTask, state: Task) -> TaskCancelled:
    begun = state.stage in {Stage.PROCESSING, Stage.STORING}
    outcome = "cancelled_after_submit" if begun else "cancelled"
    return TaskCancelled(
        task_id=state.task_id,
        user_id=state.user_id,
        account_id=state.account_id,
        charged_units=charged_units(outcome, state.price_units),
        outcome=outcome,
        at=command.at,
    )


TASK: Aggregate[TaskEvent, Task] = Aggregate(
    name="task",
    state=Task,
    initial_state=Task,
    evolve=evolve,
    events=(
        TaskCreated,
        TaskReserved,
        TaskDeclined,
        ProviderJobSubmitted,
        ProviderAttemptFailed,
        TaskStarted,
        OutputProduced,
        OutputKept,
        TaskCompleted,
        TaskFailed,
        TaskCancelled,
        OutputCameLate,
        OutputGone,
        TaskRemoved,
    ),
)

SAGA: Decider[TaskCommand, TaskEvent, Task] = Decider(TASK, decide)
