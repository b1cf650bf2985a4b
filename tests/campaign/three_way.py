"""Three books of one job: what the vendor bills, what generation knows, what the ledger entered.

It reads nothing and judges all: each difference has a name and the book's entry that it is about.
A vendor's job is known to us by its id; where its answer was lost, or was the output itself, by the
request alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    BILLED_NOT_DELIVERED = "billed_not_delivered"
    DELIVERED_NOT_BILLED = "delivered_not_billed"
    CHARGED_WITHOUT_OUTPUT = "charged_without_output"
    LATE = "late"
    PRICE_DRIFT = "price_drift"
    SUBMITTED_TWICE = "submitted_twice"


@dataclass(frozen=True, slots=True)
class Item:
    """One job on a vendor's bill, in the vendor's unit. `request` is the SHA-256 of its prompt,
    empty where the vendor does not tell."""

    vendor: str
    vendor_job: str
    request: str
    listed: int
    charged: int


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt of ours at an output; `vendor_job` is None where no id was heard."""

    task: str
    index: int
    attempt: int
    vendor: str
    vendor_job: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """`kept` and `late` are indexes of outputs; `charged_units` is what the ledger has taken from
    the user, in 1/10,000 credit."""

    request: str
    completed: bool
    outputs: int
    kept: frozenset[int]
    late: frozenset[int]
    charged_units: int


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """`subject` is the vendor's job, or the task where the vendor has none."""

    kind: Kind
    vendor: str
    subject: str


def compare(
    items: Sequence[Item], jobs: Sequence[Job], tasks: Mapping[str, Task]
) -> list[Difference]:
    """All of one key: an account of its own at each vendor."""
    pairs = list(_paired(items, jobs, tasks))
    found = [*_billed(pairs, tasks), *_repeated(pairs, tasks), *_unbilled(pairs, jobs, tasks)]
    for name, task in tasks.items():
        if task.charged_units and not (task.completed and len(task.kept) == task.outputs):
            found.append(Difference(Kind.CHARGED_WITHOUT_OUTPUT, "", name))
    return sorted(found)


def _paired(
    items: Iterable[Item], jobs: Sequence[Job], tasks: Mapping[str, Task]
) -> Iterator[tuple[Item, Job | None]]:
    """Each item with the attempt that it is of. Attempts whose output was kept come first."""
    by_id = {(job.vendor, job.vendor_job): job for job in jobs if job.vendor_job is not None}
    nameless: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        if job.vendor_job is None:
            nameless[job.vendor, tasks[job.task].request].append(job)
    for waiting in nameless.values():
        waiting.sort(key=lambda job: (job.index not in tasks[job.task].kept, job.attempt))
    for item in items:
        known = by_id.get((item.vendor, item.vendor_job))
        if known is None and (waiting := nameless[item.vendor, item.request]):
            known = waiting.pop(0)
        yield item, known


def _billed(
    pairs: Iterable[tuple[Item, Job | None]], tasks: Mapping[str, Task]
) -> Iterator[Difference]:
    for item, job in pairs:
        if not item.charged:
            continue
        if item.charged != item.listed:
            yield Difference(Kind.PRICE_DRIFT, item.vendor, item.vendor_job)
        if job is None:
            repeated = any(task.request == item.request for task in tasks.values())
            kind = Kind.SUBMITTED_TWICE if repeated else Kind.BILLED_NOT_DELIVERED
            yield Difference(kind, item.vendor, item.vendor_job)
        elif job.index in tasks[job.task].late:
            yield Difference(Kind.LATE, item.vendor, item.vendor_job)
        elif not tasks[job.task].completed:
            yield Difference(Kind.BILLED_NOT_DELIVERED, item.vendor, item.vendor_job)


def _repeated(
    pairs: Iterable[tuple[Item, Job | None]], tasks: Mapping[str, Task]
) -> Iterator[Difference]:
    """Two attempts at one output were both billed: one would have done."""
    billed = Counter[tuple[str, int]]()
    for item, job in pairs:
        if job is not None and item.charged:
            billed[job.task, job.index] += 1
            if billed[job.task, job.index] > 1 and tasks[job.task].completed:
                yield Difference(Kind.SUBMITTED_TWICE, item.vendor, item.vendor_job)


def _unbilled(
    pairs: Iterable[tuple[Item, Job | None]], jobs: Iterable[Job], tasks: Mapping[str, Task]
) -> Iterator[Difference]:
    """An output that its user has, and none of whose attempts was charged for."""
    billed = {(job.task, job.index) for item, job in pairs if job is not None and item.charged}
    last = {(job.task, job.index): job for job in sorted(jobs, key=lambda job: job.attempt)}
    for (name, index), job in last.items():
        if index in tasks[name].kept and (name, index) not in billed:
            yield Difference(Kind.DELIVERED_NOT_BILLED, job.vendor, job.vendor_job or name)
