"""Attends to provider jobs: asks when due, records what came of it, and ends what is overdue.

Nothing here waits for a result: a job that is not done is looked at again later. Each answer and
its effect on the task commit together.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from kernel.context import caused_by
from kernel.encryption import Personal
from kernel.errors import Unavailable
from kernel.event_store import EventStore
from kernel.objects import LocalObjectStore
from kernel.sql import DATABASE_AWAY
from kernel.unit import Recorded, Unit
from services.generation.adapters.due_list import (
    DueJob,
    DueList,
    record_job,
    record_job_end,
    record_met,
    record_submitted,
)
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.providers import (
    KEY_FAULTS,
    OUTCOME_BY_FAULT,
    OWN_KEY_REFUSED,
    TRANSIENT,
    Accepted,
    Fault,
    Job,
    Look,
    Made,
    Refused,
    Running,
    Submission,
    Succeeded,
)
from services.generation.adapters.vendors import Vendors
from services.generation.domain.messages import (
    FailTask,
    OutputProduced,
    RecordProduced,
    RecordSubmitted,
    TaskReserved,
)
from services.generation.domain.task import SAGA, TASK, Task

SERVICE = "generation"
IN_FLIGHT_MAX = 32
ATTEMPTS_MAX = 3
LOOKS_MAX = 20_000
"""More than any deadline leaves time for: then a vendor's job that never ends is left alone."""
POLL_EVERY_S = 1.0
SWEEP_EVERY_S = 0.5
FINISH_TIMEOUT_S = 2.0
LOOK_GROWTH = 1.5
LOOK_MAX_S = 5.0
TRANSIENT_FIRST_S = 1.0
TRANSIENT_MAX_S = 30.0
JITTER = 0.2

_log = structlog.get_logger(__name__)


class ProviderJobs:
    """The worker over the due-list: one loop, at most `IN_FLIGHT_MAX` questions at once."""

    def __init__(
        self,
        store: EventStore,
        due: DueList,
        personal: Personal,
        vendors: Vendors,
        objects: LocalObjectStore,
        *,
        input_images: InputImages,
        first_look_s: float,
        sole_owner: bool,
        progressed: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        """`progressed` is told of each task of which a vendor says that it is further."""
        self._store = store
        self._due = due
        self._personal = personal
        self._vendors = vendors
        self._objects = objects
        self._input_images = input_images
        self._first_look_s = first_look_s
        self._sole_owner = sole_owner
        self._progressed = progressed
        self._asking: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        store.on_commit(self._wake_on_reservation)

    async def run(self) -> None:
        """Until cancelled; what is being asked then is given `FINISH_TIMEOUT_S` to end."""
        leases_void = self._sole_owner
        next_sweep = 0.0
        clock = asyncio.get_running_loop().time
        try:
            while True:
                try:
                    if clock() >= next_sweep:
                        await self._due.doubt_lost_submits(self._now(), all_leases_void=leases_void)
                        leases_void = False
                        await self.miss_deadlines()
                        next_sweep = clock() + SWEEP_EVERY_S
                    await self.attend_due()
                    await self._sleep()
                except (*DATABASE_AWAY, Unavailable, TimeoutError) as error:
                    _log.warning("due_list_failed", error=type(error).__name__)
                    await asyncio.sleep(POLL_EVERY_S)
        finally:
            await self.finish(FINISH_TIMEOUT_S)

    async def miss_deadlines(self) -> int:
        """Fail the tasks whose time is up; how many deadlines there were."""
        deadlines = await self._due.deadlines(self._now())
        for deadline in deadlines:
            with caused_by(deadline.origin, SERVICE):
                await self._miss_deadline(deadline.task_id)
        return len(deadlines)

    async def attend_due(self) -> int:
        """Begin what is due now, as far as there is room; how many jobs there were.

        Never waits for a provider, so that a slow one can't hold up the deadlines.
        """
        room = IN_FLIGHT_MAX - len(self._asking)
        jobs = await self._due.claim(self._now(), room) if room else ()
        for job in jobs:
            task = asyncio.create_task(self._attend(job))
            self._asking.add(task)
            task.add_done_callback(self._answered)
        return len(jobs)

    async def finish(self, timeout_s: float | None = None) -> None:
        """Wait for what is being asked; after the time-out it is dropped, and found again later."""
        if self._asking:
            _, late = await asyncio.wait(self._asking, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _attend(self, job: DueJob) -> None:
        try:
            with caused_by(job.origin, SERVICE):
                match job.state:
                    case "submitting":
                        await self._submit(job)
                    case "submitted":
                        await self._look(job)
                    case _:
                        await self._objects.delete(_claim_of(job))
                        await self._fail(job, Refused(Fault.UNKNOWN, "never found again"))
        except (*DATABASE_AWAY, TimeoutError) as error:
            # The lease runs out and the job is claimed again, or counted as unknown.
            _log.warning("job_not_recorded", job_id=str(job.job_id), error=type(error).__name__)
        except Exception:  # noqa: BLE001 - one job's fault must not end the others
            _log.exception("job_failed", job_id=str(job.job_id))

    def _answered(self, task: asyncio.Task[None]) -> None:
        if len(self._asking) == IN_FLIGHT_MAX:
            self._wake.set()
        self._asking.discard(task)

    async def _submit(self, job: DueJob) -> None:
        task, _ = await self._store.read(TASK, TASK.stream_id(job.task_id))
        if task.stage.ended:
            await self._end(job, "ended", "task ended before submit")
            return
        wanted = await self._wanted(job, task)
        if wanted is None:
            await self._fail(job, Refused(Fault.INVALID, "the request was erased"))
            return
        answer: Submission
        if isinstance(wanted, Refused):
            answer = wanted
        else:
            vendor = await self._vendors.asked_under(job.provider, job.key_owner_id)
            answer = vendor if isinstance(vendor, Refused) else await vendor.submit(wanted)
        _log.info("job_submitted", job_id=str(job.job_id), answer=type(answer).__name__)
        match answer:
            case Accepted(provider_job_id):
                await self._accepted(job, provider_job_id)
            case Made(content):
                await self._made(job, content)
            case Refused(Fault.UNKNOWN, words):
                await self._due.unknown(job, words, self._now())
            case Refused(fault) if fault in TRANSIENT:
                await self._due.not_taken(job, answer.message, self._after_refusal(job, answer))
            case Refused():
                await self._fail(job, answer)

    async def _look(self, job: DueJob) -> None:
        assert job.provider_job_id is not None, "a submitted job has the vendor's id"
        vendor = await self._vendors.asked_under(job.provider, job.key_owner_id)
        if isinstance(vendor, Refused):
            answer: Look = vendor
        else:
            answer = await vendor.look(job.provider_job_id)
        match answer:
            case Running(progress):
                await self._look_later(job, progress, self._next_look(job))
            case Succeeded(urls) if urls:
                await self._produced(job, urls[0])
            case Succeeded():
                await self._fail(job, Refused(Fault.FAILED, "no result"))
            case Refused(fault) if fault in TRANSIENT:
                await self._look_later(job, 0, self._after_refusal(job, answer))
            case Refused(Fault.LOST) if job.attempt < ATTEMPTS_MAX:
                await self._ask_again(job)
            case Refused():
                await self._fail(job, answer)

    async def _look_later(self, job: DueJob, progress: int, at: datetime) -> None:
        if job.looks >= LOOKS_MAX:
            await self._fail(job, Refused(Fault.FAILED, "it never ended"))
        else:
            await self._due.progressed(job, progress, at)
            if progress > job.progress:
                self._progressed(job.task_id)

    async def _accepted(self, job: DueJob, provider_job_id: str) -> None:
        now = self._now()
        look_at = now + timedelta(seconds=self._first_look_s)
        command = RecordSubmitted(job.output_index, job.attempt, job.provider, provider_job_id, now)

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_submitted(unit, job, provider_job_id, look_at)

        await self._store.transact(work)

    async def _made(self, job: DueJob, content: bytes) -> None:
        """The bytes first, then the record: what a crash leaves between is an object that nobody
        names until the job, whose answer was lost, is given up. A task that has ended meanwhile
        wants them no more."""
        key = _claim_of(job)
        await self._objects.put_bytes(key, content)
        now = self._now()
        submitted = RecordSubmitted(job.output_index, job.attempt, job.provider, "", now)
        produced = RecordProduced(job.output_index, "", now, object_key=key, provider=job.provider)

        async def work(unit: Unit) -> bool:
            stream_id = TASK.stream_id(job.task_id)
            await unit.decide(SAGA, stream_id, submitted)
            recorded = await unit.decide(SAGA, stream_id, produced)
            record_job_end(unit, job, "done")
            return any(isinstance(item.event, OutputProduced) for item in recorded)

        if not await self._store.transact(work):
            await self._objects.delete(key)

    async def _produced(self, job: DueJob, url: str) -> None:
        """A success after the task has ended is recorded, and not delivered."""
        command = RecordProduced(job.output_index, url, self._now(), provider=job.provider)

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_job_end(unit, job, "done")

        await self._store.transact(work)

    async def _ask_again(self, job: DueJob) -> None:
        """The vendor says that it has no such job, so nothing of it can still be billed."""

        async def work(unit: Unit) -> None:
            record_job_end(unit, job, "failed", "lost by the provider")
            record_job(
                unit,
                task_id=job.task_id,
                output_index=job.output_index,
                attempt=job.attempt + 1,
                provider=job.provider,
                model=job.model,
                due_at=self._now(),
                key_owner_id=job.key_owner_id,
            )

        await self._store.transact(work)

    async def _fail(self, job: DueJob, refused: Refused) -> None:
        outcome, code, message = OUTCOME_BY_FAULT[refused.fault]
        if job.key_owner_id is not None and refused.fault in KEY_FAULTS:
            code, message = OWN_KEY_REFUSED
        _log.warning("job_refused", job_id=str(job.job_id), fault=refused.fault.value)
        command = FailTask(outcome, code, message, self._now())

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_job_end(unit, job, "failed", refused.message)

        await self._store.transact(work)

    async def _end(self, job: DueJob, state: str, words: str) -> None:
        async def work(unit: Unit) -> None:
            record_job_end(unit, job, state, words)

        await self._store.transact(work)

    async def _miss_deadline(self, task_id: UUID) -> None:
        command = FailTask("deadline_missed", "deadline_missed", "It took too long.", self._now())

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(task_id), command)
            record_met(unit, task_id)

        await self._store.transact(work)

    async def _wanted(self, job: DueJob, task: Task) -> Job | Refused | None:
        """What to ask for, or None when the owner's texts have been erased; `Refused` when the
        picture to begin with can't be had."""
        async with self._store.database.connection() as connection:
            texts = await self._personal.read(connection, task.user_id, [f"task-{job.task_id}"])
        text = texts.get(f"task-{job.task_id}")
        if text is None:
            return None
        request: dict[str, Any] = json.loads(text)
        options = dict(request["options"])
        if job.output_index and options.get("seed") is not None:
            options["seed"] += job.output_index
        reference = options.get("input_image")
        image = reference and await self._input_images.read(task.user_id, reference)
        if isinstance(image, Refused):
            return image
        return Job(
            job.model,
            request["prompt"],
            task.width,
            task.height,
            options,
            task_type=task.task_type,
            duration_s=task.duration_s,
            input_image=image,
            key=str(job.job_id),
        )

    def _next_look(self, job: DueJob) -> datetime:
        grown_s = self._first_look_s * LOOK_GROWTH ** min(job.looks + 1, 16)
        return self._in(min(grown_s, max(LOOK_MAX_S, self._first_look_s)), job)

    def _after_refusal(self, job: DueJob, refused: Refused) -> datetime:
        grown_s = min(TRANSIENT_MAX_S, TRANSIENT_FIRST_S * 2 ** min(job.looks, 10))
        return self._in(refused.retry_after_s or grown_s, job)

    def _in(self, delay_s: float, job: DueJob) -> datetime:
        """Jittered by the job's own id, so that jobs born together do not stay together."""
        spread = 1 + JITTER * ((job.job_id.int % 1_000) / 1_000)
        return self._now() + timedelta(seconds=delay_s * spread)

    def _now(self) -> datetime:
        return self._store.clock.now()

    def _wake_on_reservation(self, recorded: Sequence[Recorded[Any]], _: object) -> None:
        if any(isinstance(item.event, TaskReserved) for item in recorded):
            self._wake.set()

    async def _sleep(self) -> None:
        """Until the next due time, a reservation, room again, or `POLL_EVERY_S`, at the first."""
        due = await self._due.next_due()
        wait_s = POLL_EVERY_S
        if due is not None and len(self._asking) < IN_FLIGHT_MAX:
            wait_s = min(wait_s, max(0.02, (due - self._now()).total_seconds()))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        self._wake.clear()


def _claim_of(job: DueJob) -> str:
    """Where the object store holds what came with the vendor's answer."""
    return f"claims/{job.job_id}"
