"""The saga's rules, one sentence each, and that no order or repetition of its inputs matters."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.clock import SystemClock, new_id
from kernel.errors import Deferred, NotFound, Rejected
from kernel.testing import Spec
from services.generation.domain.messages import (
    CancelTask,
    CreateTask,
    FailTask,
    GiveUpReserving,
    HearDeclined,
    HearReserved,
    HearStored,
    MonthlyLimitReached,
    OutputCameLate,
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
from services.generation.domain.outcomes import OUTCOMES, charged_units
from services.generation.domain.task import SAGA, TASK, Stage, Task

ID, USER, ACCOUNT = new_id(), new_id(), new_id()
AT = SystemClock().now()
PRICE = 15_000
FILE = {"key": "images/generated/a.png"}

CREATE = CreateTask(
    task_id=ID,
    user_id=USER,
    account_id=ACCOUNT,
    key_id=None,
    monthly_credit_limit_units=None,
    task_type="image",
    model_id="flux-2",
    provider="kie",
    price_units=PRICE,
    outputs=1,
    width=1_024,
    height=576,
    prompt_sha256="0" * 64,
    deadline_at=AT,
    at=AT,
)
RESERVED, DECLINED, GIVE_UP = HearReserved(AT), HearDeclined(PRICE, 5_000, AT), GiveUpReserving(AT)
SUBMITTED = RecordSubmitted(0, 1, "kie", "job-1", AT)
PRODUCED = RecordProduced(0, "https://vendor.test/a.png", AT)
STORED = HearStored(0, FILE, AT)
FAIL = FailTask("provider_failed", "provider_failed", "The provider could not make it.", AT)
CANCEL, REMOVE = CancelTask(AT), RemoveTask(AT)

created = TaskCreated(
    task_id=ID,
    user_id=USER,
    account_id=ACCOUNT,
    key_id=None,
    monthly_credit_limit_units=None,
    task_type="image",
    model_id="flux-2",
    provider="kie",
    price_units=PRICE,
    outputs=1,
    width=1_024,
    height=576,
    prompt_sha256="0" * 64,
    deadline_at=AT,
    at=AT,
)
two_wanted = replace(created, outputs=2)
reserved = TaskReserved(ID, AT)
submitted = ProviderJobSubmitted(ID, 0, 1, "kie", "job-1", AT)
started = TaskStarted(ID, USER, "kie", AT)
produced = OutputProduced(
    *(ID, USER, ACCOUNT, 0, "image", "https://vendor.test/a.png", 1_024, 576, AT),
    model_id="flux-2",
)
kept = OutputKept(ID, 0, FILE, AT)
completed = TaskCompleted(ID, USER, ACCOUNT, "flux-2", PRICE, "completed", AT)
failed = TaskFailed(
    ID,
    USER,
    ACCOUNT,
    "provider_failed",
    "The provider could not make it.",
    0,
    "provider_failed",
    AT,
)
cancelled = TaskCancelled(ID, USER, ACCOUNT, 0, "cancelled", AT)
declined = TaskDeclined(ID, PRICE, 5_000, AT)

PENDING: tuple[TaskEvent, ...] = (created,)
QUEUED = (*PENDING, reserved)
PROCESSING = (*QUEUED, submitted, started)
STORING = (*PROCESSING, produced)
COMPLETED = (*STORING, kept, completed)
ACTIVE: dict[str, tuple[TaskEvent, ...]] = {
    "pending": PENDING,
    "queued": QUEUED,
    "processing": PROCESSING,
    "storing": STORING,
}
ENDED: dict[str, tuple[TaskEvent, ...]] = {
    "completed": COMPLETED,
    "failed": (*PROCESSING, failed),
    "cancelled": (*STORING, cancelled),
    "declined": (*PENDING, declined),
}
LIVES: dict[str, tuple[TaskEvent, ...]] = {**ACTIVE, **ENDED}
INPUTS: tuple[TaskCommand, ...] = (
    *(RESERVED, DECLINED, GIVE_UP, SUBMITTED, PRODUCED, STORED, FAIL, CANCEL),
)

SPEC: Spec[TaskCommand, TaskEvent, Task] = Spec(SAGA)
by_name = pytest.mark.parametrize


def test_creates_a_task() -> None:
    SPEC.when(CREATE).then(created)


def test_creating_again_changes_nothing() -> None:
    SPEC.given(*PENDING).when(CREATE).then_nothing()


@by_name("command", INPUTS, ids=lambda command: type(command).__name__)
def test_knows_no_task_that_was_never_created(command: TaskCommand) -> None:
    SPEC.when(command).refused(NotFound, "task_not_found")


def test_queues_a_task_whose_credits_are_reserved() -> None:
    SPEC.given(*PENDING).when(RESERVED).then(reserved)


@by_name("history", [QUEUED, PROCESSING, STORING])
def test_a_repeated_reservation_changes_nothing(history: tuple[TaskEvent, ...]) -> None:
    SPEC.given(*history).when(RESERVED).then_nothing()


def test_declines_a_task_whose_credits_do_not_suffice() -> None:
    SPEC.given(*PENDING).when(DECLINED).then(declined)


def test_a_task_that_is_declined_remembers_the_limit_that_it_met() -> None:
    limited = MonthlyLimitReached(70_000, 65_000)
    command = HearDeclined(PRICE, 5_000, AT, limited)
    SPEC.given(*PENDING).when(command).then(TaskDeclined(ID, PRICE, 5_000, AT, limited))


def test_gives_up_a_task_whose_ledger_is_silent_at_no_cost() -> None:
    message = "The ledger did not answer in time; nothing was charged."
    code = "credits_unavailable"
    SPEC.given(*PENDING).when(GIVE_UP).then(
        TaskFailed(ID, USER, ACCOUNT, code, message, 0, code, AT)
    )


@by_name("history", [QUEUED, PROCESSING, STORING])
@by_name("command", [GIVE_UP, DECLINED])
def test_a_reservation_wins_over_what_the_ledger_is_said_to_refuse_later(
    history: tuple[TaskEvent, ...], command: TaskCommand
) -> None:
    SPEC.given(*history).when(command).then_nothing()


def test_starts_with_the_first_job_that_a_provider_accepts() -> None:
    SPEC.given(*QUEUED).when(SUBMITTED).then(submitted, started)


def test_starts_once() -> None:
    second = RecordSubmitted(1, 1, "kie", "job-2", AT)
    SPEC.given(*PROCESSING).when(second).then(ProviderJobSubmitted(ID, 1, 1, "kie", "job-2", AT))


ATTEMPT_FAILED = RecordAttemptFailed(0, 1, "kie", "unavailable", AT)


def test_an_attempt_that_came_to_nothing_is_remembered_and_moves_nothing() -> None:
    told = ProviderAttemptFailed(ID, 0, 1, "kie", "unavailable", AT)
    SPEC.given(created, reserved).when(ATTEMPT_FAILED).then(told)
    second = RecordSubmitted(0, 2, "google", "job-2", AT)
    SPEC.given(created, reserved, told).when(second).then(
        ProviderJobSubmitted(ID, 0, 2, "google", "job-2", AT), TaskStarted(ID, USER, "google", AT)
    )


def test_no_attempt_follows_the_end_of_a_task() -> None:
    SPEC.given(created, reserved, failed).when(ATTEMPT_FAILED).then_nothing()


def test_asks_storage_for_what_a_provider_made() -> None:
    SPEC.given(*PROCESSING).when(PRODUCED).then(produced)


def test_the_same_output_is_produced_once() -> None:
    SPEC.given(*STORING).when(PRODUCED).then_nothing()


def test_completes_with_its_last_output_and_charges_the_whole_price() -> None:
    SPEC.given(*STORING).when(STORED).then(kept, completed)


def test_waits_for_every_output() -> None:
    history = (two_wanted, reserved, submitted, started, produced)
    SPEC.given(*history).when(STORED).then(kept)
    second = replace(produced, index=1)
    SPEC.given(*history, kept, second).when(HearStored(1, FILE, AT)).then(
        OutputKept(ID, 1, FILE, AT), completed
    )


def test_an_output_that_is_kept_twice_does_not_complete_a_task_of_two() -> None:
    history = (two_wanted, reserved, submitted, started, produced, kept)
    SPEC.given(*history).when(STORED).then_nothing()


@by_name(
    ("history", "command"),
    [
        (PENDING, SUBMITTED),
        (PENDING, PRODUCED),
        (PENDING, STORED),
        (QUEUED, PRODUCED),
        (QUEUED, STORED),
        (PROCESSING, STORED),
    ],
)
def test_keeps_for_later_what_comes_too_early(
    history: tuple[TaskEvent, ...], command: TaskCommand
) -> None:
    with pytest.raises(Deferred):
        SAGA.decide(command, TASK.fold(history))


@by_name("stage", ACTIVE)
def test_an_active_task_fails_at_no_cost(stage: str) -> None:
    SPEC.given(*ACTIVE[stage]).when(FAIL).then(failed)


@by_name("stage", ACTIVE)
def test_an_active_task_is_cancelled_at_no_cost(stage: str) -> None:
    begun = stage in {"processing", "storing"}
    row = "cancelled_after_submit" if begun else "cancelled"
    SPEC.given(*ACTIVE[stage]).when(CANCEL).then(replace(cancelled, outcome=row))


@by_name("stage", ENDED)
@by_name(
    "command",
    tuple(command for command in (CREATE, *INPUTS) if command is not PRODUCED),
    ids=lambda command: type(command).__name__,
)
def test_a_task_that_has_ended_never_changes(stage: str, command: TaskCommand) -> None:
    SPEC.given(*ENDED[stage]).when(command).then_nothing()


@by_name("stage", ACTIVE)
def test_an_active_task_is_not_removed(stage: str) -> None:
    SPEC.given(*ACTIVE[stage]).when(REMOVE).refused(Rejected, "task_active")


@by_name("stage", ENDED)
def test_a_task_that_has_ended_is_removed_once_and_nothing_follows(stage: str) -> None:
    removed = TaskRemoved(ID, USER, 1, AT)
    SPEC.given(*ENDED[stage]).when(REMOVE).then(removed)
    for command in (CREATE, *(one for one in INPUTS if one is not PRODUCED), REMOVE):
        SPEC.given(*ENDED[stage], removed).when(command).then_nothing()


def test_an_output_that_is_made_after_the_end_is_told_once_and_ends_nothing_else() -> None:
    late = replace(PRODUCED, provider="kie")
    told = OutputCameLate(ID, ACCOUNT, 0, "kie", PRICE, AT)
    SPEC.given(*PROCESSING, failed).when(late).then(told)
    SPEC.given(*PROCESSING, failed, told).when(late).then_nothing()
    SPEC.given(*PROCESSING, produced, failed).when(late).then_nothing()
    assert TASK.fold((*PROCESSING, failed, told)).stage == Stage.FAILED


def test_the_outputs_of_a_task_share_its_price_and_the_first_has_the_rest() -> None:
    three = replace(created, outputs=3, price_units=10_001)
    ended = TASK.fold((three, reserved, cancelled))
    shares = [
        event.price_units
        for index in range(3)
        for event in SAGA.decide(replace(PRODUCED, index=index), ended)
        if isinstance(event, OutputCameLate)
    ]
    assert shares == [3_335, 3_333, 3_333]


@by_name("stage", LIVES)
def test_is_in_the_stage_that_its_events_say(stage: str) -> None:
    found = TASK.fold(LIVES[stage]).stage
    assert found == (Stage.FAILED if stage == "declined" else Stage(stage))


def test_only_a_completed_task_costs_something() -> None:
    assert [name for name in OUTCOMES if charged_units(name, PRICE)] == ["completed"]
    assert charged_units("completed", PRICE) == PRICE


def test_an_outcome_without_a_row_in_the_policy_is_an_error() -> None:
    unknown = replace(FAIL, outcome="felt_like_it")
    with pytest.raises(KeyError):
        SAGA.decide(unknown, TASK.fold(PROCESSING))


SUBMITTED_2 = RecordSubmitted(1, 1, "kie", "job-2", AT)
PRODUCED_2 = RecordProduced(1, "https://vendor.test/b.png", AT)
STORED_2 = HearStored(1, FILE, AT)
DEADLINE = FailTask("deadline_missed", "deadline_missed", "It took too long.", AT)

SAGAS: dict[str, tuple[int, tuple[TaskCommand, ...]]] = {
    "success": (1, (RESERVED, SUBMITTED, PRODUCED, STORED)),
    "success of two": (
        2,
        (RESERVED, SUBMITTED, SUBMITTED_2, PRODUCED, PRODUCED_2, STORED, STORED_2),
    ),
    "decline": (1, (DECLINED,)),
    "failure": (1, (RESERVED, SUBMITTED, FAIL)),
    "failure in storage": (1, (RESERVED, SUBMITTED, PRODUCED, FAIL)),
    "cancel": (1, (RESERVED, SUBMITTED, PRODUCED, CANCEL)),
    "give up": (1, (GIVE_UP, RESERVED, DEADLINE)),
}
END_EVENTS = (TaskCompleted, TaskDeclined, TaskFailed, TaskCancelled)


def _lived(outputs: int, inputs: Sequence[TaskCommand]) -> list[TaskEvent]:
    """The whole history; what was deferred is tried again until nothing moves any more."""
    history: list[TaskEvent] = [replace(created, outputs=outputs)]
    state = TASK.fold(history)
    waiting, moved = list(inputs), True
    while waiting and moved:
        early: list[TaskCommand] = []
        moved = False
        for command in waiting:
            try:
                events = SAGA.decide(command, state)
            except Deferred:
                early.append(command)
                continue
            moved = True
            history.extend(events)
            state = TASK.fold(events, state)
        waiting = early
    return history


def _end(history: Sequence[TaskEvent]) -> tuple[Stage, list[int]]:
    """The stage, and what each ending charged."""
    ends: list[Any] = [event for event in history if isinstance(event, END_EVENTS)]
    return TASK.fold(history).stage, [getattr(end, "charged_units", 0) for end in ends]


@by_name("name", SAGAS)
def test_the_straight_order_ends_a_task_once(name: str) -> None:
    stage, charges = _end(_lived(*SAGAS[name]))
    assert stage.ended
    assert charges == [PRICE if name.startswith("success") else 0]


@by_name("name", [name for name, (_, inputs) in SAGAS.items() if len(inputs) <= 4])
def test_every_order_of_a_sagas_inputs_ends_it_the_same(name: str) -> None:
    outputs, inputs = SAGAS[name]
    straight = _end(_lived(outputs, inputs))
    orders = itertools.permutations(inputs)
    assert {repr(_end(_lived(outputs, order))) for order in orders} == {repr(straight)}


@given(data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_order_and_no_repetition_of_inputs_changes_how_a_saga_ends(data: st.DataObject) -> None:
    outputs, inputs = SAGAS[data.draw(st.sampled_from(sorted(SAGAS)))]
    repeats = data.draw(st.lists(st.sampled_from(inputs), max_size=6))
    order = data.draw(st.permutations([*inputs, *repeats]))
    history = _lived(outputs, order)
    assert _end(history) == _end(_lived(outputs, inputs))
    for event in (OutputProduced, OutputKept, TaskReserved, TaskStarted):
        happened = [item for item in history if isinstance(item, event)]
        assert len(happened) <= outputs
        assert len({getattr(item, "index", 0) for item in happened}) == len(happened)


@given(order=st.lists(st.sampled_from([*INPUTS, DEADLINE]), max_size=12))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_sequence_of_inputs_moves_a_task_backwards_or_ends_it_twice(
    order: list[TaskCommand],
) -> None:
    history = _lived(1, order)
    stages = [TASK.fold(history[: n + 1]).stage for n in range(len(history))]
    ranks = [list(Stage).index(stage) for stage in stages]
    assert ranks == sorted(ranks)
    assert len(_end(history)[1]) <= 1
