"""Invariant 4 over the files: what completed can be downloaded, with the recorded hash."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.campaign.final_reads import FinalReads
from tests.campaign.invariants.violation import Violation


def completed_outputs_are_on_disk(reads: FinalReads) -> Iterable[Violation]:
    """4: a completed task has each of its outputs; what was stored lies there with its hash."""
    stored = {
        (event.data["task_id"], event.data["index"]): event.data["file"]
        for event in reads.services["storage"].events
        if event.type == "OutputStored"
    }
    for (task_id, index), file in stored.items():
        for words in _faults(reads.objects_root, file):
            yield Violation(4, f"task-{task_id}", f"output {index}: {words}")
    for task_id, events in reads.tasks.items():
        outputs = range(events[0].data["outputs"])
        kept = {e.data["index"]: e.data["file"] for e in events if e.type == "OutputKept"}
        completed = any(event.type == "TaskCompleted" for event in events)
        if completed != (kept.keys() == set(outputs)):
            words = f"keeps {len(kept)} of {len(outputs)} outputs, completed: {completed}"
            yield Violation(4, f"task-{task_id}", words)
        for index, file in kept.items():
            if file != stored.get((task_id, index)):
                yield Violation(4, f"task-{task_id}", f"output {index} is not what was stored")


def _faults(objects_root: Path, file: Mapping[str, Any]) -> Iterable[str]:
    picture = objects_root / file["key"]
    if not picture.is_file():
        yield f"{file['key']} is not there"
    elif hashlib.sha256(picture.read_bytes()).hexdigest() != file["sha256"]:
        yield f"{file['key']} is not what was recorded"
    thumbnail = file["thumbnail_key"]
    if thumbnail is not None and not (objects_root / thumbnail).is_file():
        yield f"{thumbnail} is not there"
