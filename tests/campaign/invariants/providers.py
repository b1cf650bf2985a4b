"""Invariant 6: a provider is asked once per recorded attempt, by its own account of it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.campaign.final_reads import FinalReads
from tests.campaign.invariants.violation import Violation

Row = Mapping[str, Any]


def asked_once(reads: FinalReads) -> Iterable[Violation]:
    """6: recorded jobs are the vendor's, each once; what it took unrecorded is known as unknown."""
    yield from _submissions(reads)
    yield from _shared(reads.provider_jobs)
    if reads.asked is not None:
        yield from _orders(reads, reads.asked)


def _submissions(reads: FinalReads) -> Iterable[Violation]:
    """Each attempt's event names the job of its row, and is there once."""
    jobs = {
        (str(row["task_id"]), row["output_index"], row["attempt"]): row["provider_job_id"]
        for row in reads.provider_jobs
    }
    told = Counter(
        (task_id, event.data["index"], event.data["attempt"], event.data["provider_job_id"])
        for task_id, events in reads.tasks.items()
        for event in events
        if event.type == "ProviderJobSubmitted"
    )
    for (task_id, index, attempt, job), times in told.items():
        where = f"output {index}, attempt {attempt}"
        if times > 1:
            yield Violation(6, f"task-{task_id}", f"{where} was submitted {times} times")
        if jobs.get((task_id, index, attempt)) != job:
            yield Violation(6, f"task-{task_id}", f"{where} is not job {job} on the due-list")


def _shared(rows: Sequence[Row]) -> Iterable[Violation]:
    jobs = Counter(row["provider_job_id"] for row in rows if row["provider_job_id"] is not None)
    for job, times in jobs.items():
        if times > 1:
            yield Violation(6, f"job {job}", f"is recorded for {times} attempts")


def _orders(reads: FinalReads, asked: Sequence[Row]) -> Iterable[Violation]:
    """By request, because a vendor knows prompts, and no tasks of ours."""
    taken: dict[str, set[str]] = {}
    for order in asked:
        if order["task_id"]:
            taken.setdefault(_sha256(order["prompt"]), set()).add(order["task_id"])
    attempts: dict[str, list[Row]] = {}
    for row in reads.provider_jobs:
        request = _request_of(reads, str(row["task_id"]))
        attempts.setdefault(request, []).append(row)
    for request in taken.keys() | attempts.keys():
        yield from _request(request, taken.get(request, set()), attempts.get(request, []))


def _request(request: str, taken: set[str], attempts: Sequence[Row]) -> Iterable[Violation]:
    subject = f"request {request}"
    recorded = {row["provider_job_id"] for row in attempts} - {None}
    without_answer = [
        row for row in attempts if row["provider_job_id"] is None and row["state"] == "failed"
    ]
    if len(taken) > len(attempts):
        yield Violation(6, subject, f"{len(taken)} jobs at the vendor, {len(attempts)} attempts")
    if len(taken - recorded) > len(without_answer):
        words = f"{len(taken - recorded)} jobs unrecorded, {len(without_answer)} counted as unknown"
        yield Violation(6, subject, words)
    for job in recorded - taken:
        yield Violation(6, subject, f"job {job} is recorded, and the vendor has none such")


def _request_of(reads: FinalReads, task_id: str) -> str:
    events = reads.tasks.get(task_id)
    return str(events[0].data["prompt_sha256"]) if events else f"of task {task_id}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
