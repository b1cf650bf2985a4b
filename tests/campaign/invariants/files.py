"""Invariant 4 over the files: what completed can be downloaded, with the recorded hash."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.campaign.final_reads import FinalReads
from tests.campaign.invariants.violation import Violation


def completed_outputs_are_on_disk(reads: FinalReads) -> Iterable[Violation]:
    """4: a completed task has each of its outputs; what was stored lies there with its hash, and
    is gone once its task was removed."""
    stored, erased = _told_of(reads, "OutputStored"), _told_of(reads, "OutputErased")
    for (task_id, index), data in stored.items():
        gone = (task_id, index) in erased
        for words in _remains(reads, data) if gone else _faults(reads.objects_root, data["file"]):
            yield Violation(4, f"task-{task_id}", f"output {index}: {words}")
    for task_id, events in reads.tasks.items():
        removed = any(event.type == "TaskRemoved" for event in events)
        for index in [index for of, index in stored if of == task_id and removed]:
            if (task_id, index) not in erased:
                yield Violation(4, f"task-{task_id}", f"was removed, and has output {index} still")
        outputs = range(events[0].data["outputs"])
        kept = {e.data["index"]: e.data["file"] for e in events if e.type == "OutputKept"}
        completed = any(event.type == "TaskCompleted" for event in events)
        if completed != (kept.keys() == set(outputs)):
            words = f"keeps {len(kept)} of {len(outputs)} outputs, completed: {completed}"
            yield Violation(4, f"task-{task_id}", words)
        for index, file in kept.items():
            if file != stored.get((task_id, index), {}).get("file"):
                yield Violation(4, f"task-{task_id}", f"output {index} is not what was stored")


def _told_of(reads: FinalReads, kind: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    """What storage has said so, by task and output."""
    return {
        (event.data["task_id"], event.data["index"]): event.data
        for event in reads.services["storage"].events
        if event.type == kind
    }


def _remains(reads: FinalReads, data: Mapping[str, Any]) -> Iterable[str]:
    file = data["file"]
    for key in (file["key"], file["thumbnail_key"]):
        if key is not None and (reads.objects_root / key).exists():
            yield f"{key} is there still"


def _faults(objects_root: Path, file: Mapping[str, Any]) -> Iterable[str]:
    picture = objects_root / file["key"]
    if not picture.is_file():
        yield f"{file['key']} is not there"
    elif hashlib.sha256(picture.read_bytes()).hexdigest() != file["sha256"]:
        yield f"{file['key']} is not what was recorded"
    thumbnail = file["thumbnail_key"]
    if thumbnail is not None and not (objects_root / thumbnail).is_file():
        yield f"{thumbnail} is not there"
