"""Invariants 5 and 8: what was announced was published, and handled effectively once."""

from collections import Counter
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from tests.campaign.final_reads import Event, FinalReads
from tests.campaign.invariants.violation import Violation

CREDITS_UNAVAILABLE: Final = "credits_unavailable"


def handled_once(reads: FinalReads) -> Iterable[Violation]:
    """5: outboxes are empty, each message is done in each inbox, its effects are there once."""
    due = {
        (consumer, message.message_id): message
        for memory in reads.services.values()
        for message in memory.messages
        for consumer in message.consumers
    }
    rows = {
        (row.consumer, row.message_id): row
        for memory in reads.services.values()
        for row in memory.inbox
    }
    for service, memory in reads.services.items():
        for message_id, name in memory.outbox:
            yield Violation(5, f"{name} {message_id}", f"still in the outbox of {service}")
    for (consumer, message_id), message in due.items():
        row = rows.get((consumer, message_id))
        if row is None or row.state == "retry":
            state = "never heard" if row is None else f"still to be tried again ({row.error})"
            yield Violation(5, f"{message.type} {message_id}", f"{state} by {consumer}")
    for consumer, message_id in rows.keys() - due.keys():
        yield Violation(5, f"message {message_id}", f"heard by {consumer}, and nobody says it")
    yield from _effects(reads, due.keys())


def _effects(reads: FinalReads, due: Iterable[tuple[str, UUID]]) -> Iterable[Violation]:
    """One message leads to no event twice, and nothing follows from what was never said."""
    said = {(consumer, str(message_id)) for consumer, message_id in due}
    for service, memory in reads.services.items():
        effects = Counter(
            (event.causation_id, event.stream_id, event.type)
            for event in memory.events
            if event.causation_id is not None
        )
        for (cause, stream_id, name), times in effects.items():
            if times > 1:
                yield Violation(5, stream_id, f"{name} {times} times for message {cause}")
            if (service, cause) not in said:
                yield Violation(5, stream_id, f"{name} follows from {cause}, which nobody says")


def requests_have_one_effect(reads: FinalReads) -> Iterable[Violation]:
    """5: one task for each accepted request, none that counts for a refused one, and no others."""
    told = reads.told
    tasks_by_request: dict[str, set[str]] = {}
    for task_id, events in reads.tasks.items():
        if not _came_to_nothing(events):
            request = events[0].data["prompt_sha256"]
            tasks_by_request.setdefault(request, set()).add(task_id)
    for request, tasks in tasks_by_request.items():
        if len(tasks) > 1:
            yield Violation(5, f"request {request}", f"has {len(tasks)} tasks: {sorted(tasks)}")
        if request not in told.accepted.keys() | told.refused | told.unknown:
            yield Violation(5, f"request {request}", "has a task, and nobody asked for it")
    for request, answer in told.accepted.items():
        if tasks_by_request.get(request, set()) != {str(answer)}:
            yield Violation(5, f"request {request}", f"was answered with task {answer} alone")
    for request in told.refused:
        for task in tasks_by_request.get(request, ()):
            if not any(event.type == "TaskDeclined" for event in reads.tasks[task]):
                yield Violation(5, f"request {request}", f"was refused, and has task {task}")


def _came_to_nothing(events: Iterable[Event]) -> bool:
    """The client was told to ask again, and its key was given back."""
    return any(event.data.get("outcome") == CREDITS_UNAVAILABLE for event in events)


def nothing_is_parked(reads: FinalReads) -> Iterable[Violation]:
    """8: a dead letter is visible; here none is expected."""
    for memory in reads.services.values():
        for row in memory.inbox:
            if row.state == "parked":
                words = f"parked by {row.consumer}: {row.error}"
                yield Violation(8, f"message {row.message_id}", words)
