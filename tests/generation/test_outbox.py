"""What generation says of each of its own events, and that the user's words are in none."""

import pytest

from contracts import generation as public
from contracts.envelope import PublicEvent
from kernel.clock import SystemClock, new_id
from kernel.context import Origin
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
from services.generation.domain.task import TASK
from services.generation.outbox import announce

ID, USER, PAYER, KEY = new_id(), new_id(), new_id(), new_id()
AT = SystemClock().now()

SAID: list[tuple[TaskEvent, PublicEvent | None]] = [
    (
        TaskCreated(
            task_id=ID,
            user_id=USER,
            account_id=PAYER,
            key_id=KEY,
            monthly_credit_limit_units=70_000,
            task_type="image",
            model_id="flux-2",
            provider="kie",
            price_units=15_000,
            outputs=1,
            width=1_024,
            height=576,
            prompt_sha256="0" * 64,
            deadline_at=AT,
            at=AT,
        ),
        public.TaskCreated(
            task_id=ID,
            user_id=USER,
            account_id=PAYER,
            key_id=KEY,
            monthly_credit_limit_units=70_000,
            task_type="image",
            model_id="flux-2",
            price_units=15_000,
            created_at=AT,
        ),
    ),
    (TaskReserved(ID, AT), None),
    (TaskDeclined(ID, 15_000, 5_000, AT), None),
    (ProviderJobSubmitted(ID, 0, 1, "kie", "job-1", AT), None),
    (
        TaskStarted(ID, USER, "kie", AT),
        public.TaskStarted(task_id=ID, user_id=USER, provider="kie", started_at=AT),
    ),
    (
        OutputProduced(
            *(ID, USER, PAYER, 1, "image", "https://cdn.test/a.png", 1_024, 576, AT),
            model_id="flux-2",
        ),
        public.OutputProduced(
            task_id=ID,
            user_id=USER,
            account_id=PAYER,
            index=1,
            task_type="image",
            url="https://cdn.test/a.png",
            width=1_024,
            height=576,
            model_id="flux-2",
        ),
    ),
    (OutputKept(ID, 1, {"key": "images/a.png"}, AT), None),
    (OutputGone(ID, 1, AT), None),
    (
        TaskCompleted(ID, USER, PAYER, "flux-2", 15_000, "completed", AT),
        public.TaskCompleted(
            task_id=ID,
            user_id=USER,
            account_id=PAYER,
            model_id="flux-2",
            charged_units=15_000,
            outcome="completed",
            completed_at=AT,
        ),
    ),
    (
        TaskFailed(ID, USER, PAYER, "content_moderated", "Withheld.", 0, "output_moderated", AT),
        public.TaskFailed(
            task_id=ID,
            user_id=USER,
            account_id=PAYER,
            code="content_moderated",
            charged_units=0,
            outcome="output_moderated",
            failed_at=AT,
        ),
    ),
    (
        TaskCancelled(ID, USER, PAYER, 0, "cancelled", AT),
        public.TaskCancelled(
            task_id=ID,
            user_id=USER,
            account_id=PAYER,
            charged_units=0,
            outcome="cancelled",
            cancelled_at=AT,
        ),
    ),
    (ProviderAttemptFailed(ID, 0, 1, "kie", "unavailable", AT), None),
    (
        TaskRemoved(ID, USER, 2, AT),
        public.TaskRemoved(task_id=ID, user_id=USER, outputs=2, removed_at=AT),
    ),
    (
        OutputCameLate(ID, PAYER, 1, "kie", 7_500, AT),
        public.LateOutputProduced(
            task_id=ID,
            account_id=PAYER,
            index=1,
            provider="kie",
            price_units=7_500,
            produced_at=AT,
        ),
    ),
]


@pytest.mark.parametrize(("event", "said"), SAID, ids=lambda value: type(value).__name__)
def test_says_of_each_event_what_others_may_know(
    event: TaskEvent, said: PublicEvent | None
) -> None:
    recorded = Recorded(new_id(), f"task-{ID}", 1, event, AT, Origin("request-1"))
    assert announce(recorded) == said


def test_every_event_of_the_domain_is_covered_here() -> None:
    assert {type(event) for event, _ in SAID} == set(TASK.events)
