"""Messages out: own event -> public event, or nothing."""

from typing import assert_never

from contracts import generation as public
from contracts.envelope import PublicEvent
from kernel.unit import Recorded
from services.generation.domain.messages import (
    OutputCameLate,
    OutputGone,
    OutputKept,
    OutputProduced,
    ProviderAttemptFailed,
    ProviderJobSubmitted,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskDeclined,
    TaskEvent,
    TaskFailed,
    TaskRemoved,
    TaskReserved,
    TaskStarted,
)


def announce(recorded: Recorded[TaskEvent]) -> PublicEvent | None:
    event = recorded.event
    match event:
        case TaskCreated():
            return public.TaskCreated(
                task_id=event.task_id,
                user_id=event.user_id,
                account_id=event.account_id,
                key_id=event.key_id,
                monthly_credit_limit_units=event.monthly_credit_limit_units,
                task_type=event.task_type,
                model_id=event.model_id,
                price_units=event.price_units,
                created_at=event.at,
            )
        case TaskStarted():
            return public.TaskStarted(
                task_id=event.task_id,
                user_id=event.user_id,
                provider=event.provider,
                started_at=event.at,
            )
        case OutputProduced():
            return public.OutputProduced(
                task_id=event.task_id,
                user_id=event.user_id,
                account_id=event.account_id,
                index=event.index,
                task_type=event.task_type,
                url=event.url,
                object_key=event.object_key,
                width=event.width,
                height=event.height,
                duration_seconds=event.duration_s,
                mime_type=event.mime_type,
                model_id=event.model_id,
            )
        case TaskCompleted():
            return public.TaskCompleted(
                task_id=event.task_id,
                user_id=event.user_id,
                account_id=event.account_id,
                model_id=event.model_id,
                charged_units=event.charged_units,
                outcome=event.outcome,
                completed_at=event.at,
            )
        case TaskFailed():
            return public.TaskFailed(
                task_id=event.task_id,
                user_id=event.user_id,
                account_id=event.account_id,
                code=event.code,
                charged_units=event.charged_units,
                outcome=event.outcome,
                failed_at=event.at,
            )
        case TaskCancelled():
            return public.TaskCancelled(
                task_id=event.task_id,
                user_id=event.user_id,
                account_id=event.account_id,
                charged_units=event.charged_units,
                outcome=event.outcome,
                cancelled_at=event.at,
            )
        case OutputCameLate():
            return public.LateOutputProduced(
                task_id=event.task_id,
                account_id=event.account_id,
                index=event.index,
                provider=event.provider,
                price_units=event.price_units,
                produced_at=event.at,
            )
        case TaskRemoved():
            return public.TaskRemoved(
                task_id=event.task_id,
                user_id=event.user_id,
                outputs=event.outputs,
                removed_at=event.at,
            )
        case TaskReserved() | TaskDeclined() | OutputKept() | OutputGone():
            return None
        case ProviderJobSubmitted() | ProviderAttemptFailed():
            return None
        case _:
            assert_never(event)
