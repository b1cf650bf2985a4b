"""What the vendor remembers: jobs, bills and what was asked, in one append-only file of JSON lines.

A line is handed to the operating system before the answer leaves, so it outlives a killed
process (not a power cut: a simulator need not). At start, and when the file has grown to
several times what is kept, it is written anew with only that.
"""

import json
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from pydantic import TypeAdapter, ValidationError

from services.simulator.domain import bill as bills
from services.simulator.domain.bill import Bill
from services.simulator.domain.jobs import Job, Outcome

MAX_KEYS: Final = 1_000
COMPACT_AT: Final = 4
"""The file holds at most this many times the lines that are worth keeping."""

_JOB: Final = TypeAdapter(Job)
_OUTCOME: Final = TypeAdapter(Outcome)
_BILL: Final = TypeAdapter(Bill)


@dataclass(frozen=True, slots=True)
class Bounds:
    jobs: int
    asked: int
    keep_ms: int


class Journal:
    def __init__(self, path: Path, bounds: Bounds) -> None:
        self._path = path
        self._bounds = bounds
        self._file: TextIO | None = None
        self._lines = 0
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self.outcomes: dict[str, Outcome] = {}
        self.bills: OrderedDict[tuple[str, str], Bill] = OrderedDict()
        self.asked: deque[dict[str, Any]] = deque(maxlen=bounds.asked)

    def open(self, now_ms: int) -> None:
        """Read what was kept (a torn last line is the price of a crash) and begin anew with it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            with self._path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    self._replay(line)
        self.forget_old(now_ms)
        self._compact()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def bill(self, vendor: str, key: str) -> Bill:
        return self.bills.get((vendor, key)) or Bill(key, vendor)

    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.task_id not in self.outcomes]

    def accept(self, job: Job) -> None:
        self._accepted(job)
        self._write({"fact": "accepted", "job": _JOB.dump_python(job, mode="json")})

    def finish(self, outcome: Outcome) -> None:
        """Note how a job ended: the first of its ends counts, and none of a forgotten job."""
        if outcome.task_id in self.jobs and outcome.task_id not in self.outcomes:
            self._finished(outcome)
            self._write({"fact": "finished", "outcome": asdict(outcome)})

    def ask(self, entry: dict[str, Any]) -> None:
        """Note a request, its prompt included: this is the vendor's own side."""
        self.asked.append(entry)
        self._write({"fact": "asked", "entry": entry})

    def forget_old(self, now_ms: int) -> list[Job]:
        """Drop and return the jobs beyond the bounds of number and age."""
        gone = []
        while self.jobs:
            oldest = next(iter(self.jobs.values()))
            young = oldest.created_ms >= now_ms - self._bounds.keep_ms
            if young and len(self.jobs) <= self._bounds.jobs:
                break
            gone.append(self.jobs.pop(oldest.task_id))
            self.outcomes.pop(oldest.task_id, None)
        return gone

    def _accepted(self, job: Job) -> None:
        self.jobs[job.task_id] = job
        self._set_bill(bills.accepted(self.bill(job.vendor, job.key), job))

    def _finished(self, outcome: Outcome) -> None:
        job = self.jobs[outcome.task_id]
        self.outcomes[outcome.task_id] = outcome
        self._set_bill(bills.finished(self.bill(job.vendor, job.key), job, outcome))

    def _set_bill(self, bill: Bill) -> None:
        whose = bill.vendor, bill.key
        self.bills[whose] = bill
        self.bills.move_to_end(whose)
        while len(self.bills) > MAX_KEYS:
            self.bills.popitem(last=False)

    def _replay(self, line: str) -> None:
        try:
            fact = json.loads(line)
            match fact["fact"]:
                case "accepted":
                    self._accepted(_JOB.validate_python(fact["job"]))
                case "finished":
                    outcome = _OUTCOME.validate_python(fact["outcome"])
                    if outcome.task_id in self.jobs:
                        self._finished(outcome)
                case "asked":
                    self.asked.append(fact["entry"])
                case "carried":
                    self._set_bill(_BILL.validate_python(fact["bill"]))
        except (ValueError, KeyError, TypeError, ValidationError):
            return

    def _kept(self) -> Iterator[dict[str, Any]]:
        part: dict[tuple[str, str], Bill] = {}
        for job in self.jobs.values():
            whose = job.vendor, job.key
            held = bills.accepted(part.get(whose) or Bill(job.key, job.vendor), job)
            outcome = self.outcomes.get(job.task_id)
            part[whose] = bills.finished(held, job, outcome) if outcome else held
        for whose, bill in self.bills.items():
            rest = bills.difference(bill, part.get(whose) or Bill(bill.key, bill.vendor))
            yield {"fact": "carried", "bill": asdict(rest)}
        for entry in self.asked:
            yield {"fact": "asked", "entry": entry}
        for job in self.jobs.values():
            yield {"fact": "accepted", "job": _JOB.dump_python(job, mode="json")}
            if outcome := self.outcomes.get(job.task_id):
                yield {"fact": "finished", "outcome": asdict(outcome)}

    def _compact(self) -> None:
        self.close()
        part = self._path.with_name(self._path.name + ".part")
        self._lines = 0
        with part.open("w", encoding="utf-8") as file:
            for fact in self._kept():
                file.write(json.dumps(fact) + "\n")
                self._lines += 1
        part.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8")

    def _write(self, fact: dict[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError("the journal is not open")
        self._file.write(json.dumps(fact) + "\n")
        self._file.flush()
        self._lines += 1
        worth = 2 * self._bounds.jobs + self._bounds.asked + MAX_KEYS
        if self._lines > COMPACT_AT * worth:
            self._compact()
