"""A job's life as the vendor tells it; knows no clock: every question brings the time along."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from services.simulator.domain.commissions import Commission, Picture, expected_ms
from services.simulator.domain.scenarios import Scenario

State = Literal["waiting", "queuing", "generating", "success", "fail"]

WAITING_MS: Final = 60
BY_THEN_PERCENT: Final = 80
"""The progress when a job has taken as long as was expected; the rest comes ever more slowly."""
FAILS_AFTER_MS: Final = 300
MAX_DRIFT: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted order. `key` is a digest of the caller's key, never the key."""

    task_id: str
    vendor: str
    key: str
    model: str
    param: str
    commission: Commission
    price_credits: int
    created_ms: int
    latency_ms: int = 0
    scenarios: tuple[Scenario, ...] = ()

    @property
    def charge_credits(self) -> int:
        """What is charged when it succeeds: the listed price, unless it has drifted."""
        drift = self.has("price_drift")
        factor = drift.number("factor", 1.5) if drift else 1.0
        return round(self.price_credits * min(max(factor, 0.0), MAX_DRIFT))

    def has(self, name: str) -> Scenario | None:
        return next((one for one in self.scenarios if one.name == name), None)

    @property
    def canned(self) -> bool:
        return self.has("canned") is not None

    @property
    def filename(self) -> str:
        """Of the result; a canned picture is a PNG whatever was asked for."""
        tiny = self.canned and isinstance(self.commission, Picture)
        return f"{self.task_id}.{'png' if tiny else self.commission.kind}"

    @property
    def first_frame_name(self) -> str:
        """Of the file with the picture that a film begins with, if it was brought."""
        return f"{self.task_id}.first"


@dataclass(frozen=True, slots=True)
class Outcome:
    task_id: str
    completed_ms: int
    cost_ms: int
    fail_code: str = ""
    """Empty, or one of MODERATED, FAILED, UNREADABLE, DELETED: each vendor has its own words."""


@dataclass(frozen=True, slots=True)
class View:
    state: State
    progress: int
    updated_ms: int
    outcome: Outcome | None = None


MODERATED: Final = "moderated"
FAILED: Final = "failed"
UNREADABLE: Final = "download_failed"
DELETED: Final = "deleted"


def early_outcome(job: Job) -> Outcome | None:
    """How a job ends without being rendered, if it does; it may lie in the future."""
    moderated = job.has("moderated")
    before = moderated is not None and moderated.text("when", "before") == "before"
    if before or job.has("fail") or job.has(UNREADABLE):
        code = UNREADABLE if job.has(UNREADABLE) else MODERATED if moderated else FAILED
        done_ms = job.created_ms + max(job.latency_ms, FAILS_AFTER_MS)
        return Outcome(job.task_id, done_ms, FAILS_AFTER_MS, code)
    if job.canned and not (job.has("hang") or job.has("lost")):
        return rendered_outcome(job, job.created_ms, job.created_ms)
    return None


def rendered_outcome(job: Job, started_ms: int, now_ms: int) -> Outcome:
    """How a rendered job ends; moderation may still come after the fact."""
    done_ms = max(now_ms, job.created_ms + job.latency_ms)
    if job.has("moderated"):
        return Outcome(job.task_id, done_ms, now_ms - started_ms, MODERATED)
    return Outcome(job.task_id, done_ms, now_ms - started_ms)


def wants_render(job: Job) -> bool:
    return early_outcome(job) is None and not (job.has("hang") or job.has("lost"))


def look(job: Job, outcome: Outcome | None, started_ms: int | None, now_ms: int, nth: int) -> View:
    """What the vendor says of a job at its `nth` (from 1) look."""
    view = _honest(job, outcome, started_ms, now_ms)
    if job.has("state_backwards") and nth % 2 == 0 and view.state in {"generating", "success"}:
        return View("waiting", 0, view.updated_ms)
    return view


def _honest(job: Job, outcome: Outcome | None, started_ms: int | None, now_ms: int) -> View:
    if outcome is not None and outcome.completed_ms <= now_ms:
        state: State = "fail" if outcome.fail_code else "success"
        return View(state, 100, outcome.completed_ms, outcome)
    age_ms = now_ms - job.created_ms
    if age_ms < WAITING_MS:
        return View("waiting", 0, job.created_ms)
    if started_ms is None and outcome is None and not job.has("hang"):
        return View("queuing", 0, job.created_ms + WAITING_MS)
    return View(
        "generating", _progress(job, age_ms, now_ms - (started_ms or job.created_ms)), now_ms
    )


def _progress(job: Job, age_ms: int, worked_ms: int) -> int:
    """Per cent; it moves all the time and arrives only with the result."""
    expected = expected_ms(job.commission)
    if job.latency_ms > expected:
        return min(99, max(1, age_ms * 100 // job.latency_ms))
    left = math.pow(1 - BY_THEN_PERCENT / 100, worked_ms / expected)
    return min(99, max(1, round(100 * (1 - left))))
