"""Invariants 1 and 4 over the tasks: each ends, for good, and pays if and only if it completed."""

from collections.abc import Iterable, Sequence
from typing import Final

from services.generation.domain.outcomes import charged_units
from tests.campaign.final_reads import Event, FinalReads
from tests.campaign.invariants.violation import Violation

ENDINGS: Final = frozenset({"TaskCompleted", "TaskFailed", "TaskCancelled", "TaskDeclined"})
LATE: Final = "OutputCameLate"
"""It is noted after the end, and changes nothing of it."""
AFTER_THE_END: Final = frozenset({LATE, "TaskRemoved"})


def tasks_end(reads: FinalReads) -> Iterable[Violation]:
    """1: each accepted task exists, each task has one ending, and nothing after it."""
    for task_id in map(str, reads.told.accepted.values()):
        if task_id not in reads.tasks:
            yield Violation(1, f"task-{task_id}", "was accepted, and is not in the history")
        elif _is(reads.tasks[task_id], "TaskDeclined"):
            yield Violation(1, f"task-{task_id}", "was accepted, and is declined")
    for task_id, events in reads.tasks.items():
        endings = [event.type for event in events if event.type in ENDINGS]
        if len(endings) != 1:
            yield Violation(1, f"task-{task_id}", f"endings: {', '.join(endings) or 'none'}")
            continue
        last = [event for event in events if event.type not in AFTER_THE_END][-1]
        if last.type not in ENDINGS:
            yield Violation(1, f"task-{task_id}", f"{last.type} after its end")


def charged_if_completed(reads: FinalReads) -> Iterable[Violation]:
    """4: the hold was charged what the outcome's row says of the price, and nothing else was."""
    for task_id, events in reads.tasks.items():
        charged = _charged(reads.holds.get(task_id, ()))
        owed = _owed(events)
        if charged != owed:
            words = f"{events[-1].type}: owes {owed}, is charged {charged}"
            yield Violation(4, f"task-{task_id}", words)
        told = next((e.data["charged_units"] for e in events if "charged_units" in e.data), 0)
        if told != owed:
            yield Violation(4, f"task-{task_id}", f"says that {told} is owed, not {owed}")
    for task_id in reads.holds.keys() - reads.tasks.keys():
        yield Violation(4, f"hold-{task_id}", "holds for a task that is not in the history")


def late_outputs_are_losses(reads: FinalReads) -> Iterable[Violation]:
    """4, of what nobody pays for: the platform's account of losses has each output once."""
    for task_id, events in reads.tasks.items():
        late = sorted(_late(event) for event in events if event.type == LATE)
        lost = sorted(
            _late(event)
            for event in reads.holds.get(task_id, ())
            if event.type == "LossEntered" and event.data["index"] is not None
        )
        if late != lost:
            yield Violation(4, f"task-{task_id}", f"came late: {late}, lost: {lost}")


def _late(event: Event) -> tuple[int, int]:
    """Which output, and its price."""
    units = event.data["price_units"] if event.type == LATE else event.data["amount_units"]
    return int(event.data["index"]), int(units)


def _owed(events: Sequence[Event]) -> int:
    """By the outcome policy; a task that has not ended owes nothing yet."""
    price = int(events[0].data["price_units"])
    ending = next((event for event in events if event.type in ENDINGS), None)
    if ending is None or ending.type == "TaskDeclined":
        return 0
    completed = ending.type == "TaskCompleted"
    outcome = str(ending.data["outcome"])
    return charged_units(outcome, price) if completed == (outcome == "completed") else -1


def _charged(hold: Sequence[Event]) -> int:
    return sum(event.data["amount_units"] for event in hold if event.type == "HoldCommitted")


def _is(events: Sequence[Event], name: str) -> bool:
    return any(event.type == name for event in events)
