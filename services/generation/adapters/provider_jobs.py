"""Attends to provider jobs: asks when due, and says to the records what was answered.

Nothing here waits for a result: a job that is not done is looked at again later.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from kernel.context import caused_by
from kernel.errors import Unavailable
from kernel.event_store import EventStore
from kernel.sql import DATABASE_AWAY
from kernel.telemetry.metrics import child
from kernel.unit import Recorded
from services.generation.adapters.breaker import Breakers
from services.generation.adapters.due_list import DueJob, DueList, LookLater
from services.generation.adapters.job_records import JobRecords
from services.generation.adapters.job_requests import JobRequests
from services.generation.adapters.lanes import Lanes
from services.generation.adapters.look_batches import LookBatches
from services.generation.adapters.metrics import LOOKS_LATE, UNKNOWN_OUTCOMES
from services.generation.adapters.providers import (
    KEY_FAULTS,
    TRANSIENT,
    Accepted,
    Fault,
    Job,
    Look,
    Made,
    Provider,
    Refused,
    Running,
    Submission,
    Succeeded,
)
from services.generation.adapters.vendors import Vendors
from services.generation.domain.catalogue import Catalogue
from services.generation.domain.messages import TaskReserved
from services.generation.domain.task import TASK, Task

SERVICE = "generation"
LOOKING_MAX: Final = 512
SUBMITTING_MAX: Final = 64
"""An answer may hold the whole output, so that fewer of them are in memory at once."""
ATTEMPTS_MAX = 3
UNAVAILABLE_MAX: Final = 3
"""Refusals of one job, after which another provider is asked."""
LOOKS_MAX = 20_000
"""More than any deadline leaves time for: then a vendor's job that never ends is left alone."""
LOOKS_PER_S: Final = 1_000.0
"""In a lane whose vendor says nothing of it: what half a processor can do."""
POLL_EVERY_S = 1.0
LANE_POLL_S: Final = 0.25
"""How soon room in a lane is seen that another process made."""
TOGETHER_S: Final = 0.05
"""What is due so soon after each other is claimed together."""
SWEEP_EVERY_S = 0.5
FINISH_TIMEOUT_S = 2.0
LOOK_GROWTH = 1.5
LOOK_MAX_S = 5.0
FIND_FIRST_S: Final = 1.0
FIND_MAX_S: Final = 15.0
TRANSIENT_FIRST_S = 1.0
TRANSIENT_MAX_S = 30.0
JITTER = 0.2

_log = structlog.get_logger(__name__)


class ProviderJobs:
    """The worker over the due-list: one loop, at most `LOOKING_MAX` and `SUBMITTING_MAX` questions
    at once."""

    def __init__(
        self,
        store: EventStore,
        due: DueList,
        lanes: Lanes,
        records: JobRecords,
        requests: JobRequests,
        *,
        breakers: Breakers,
        vendors: Vendors,
        catalogue: Catalogue,
        first_look_s: float,
        sole_owner: bool,
        progressed: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        """`progressed` is told of each task of which a vendor says that it is further."""
        self._store = store
        self._due = due
        self._lanes = lanes
        self._breakers = breakers
        self._look_breakers = Breakers("looks")
        self._records = records
        self._requests = requests
        self._laters = LookBatches(due)
        self._vendors = vendors
        self._catalogue = catalogue
        self._first_look_s = first_look_s
        self._sole_owner = sole_owner
        self._progressed = progressed
        self._looking: set[asyncio.Task[None]] = set()
        self._submitting: set[asyncio.Task[None]] = set()
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

    def wake(self) -> None:
        """Something may be due sooner than was known."""
        self._wake.set()

    async def miss_deadlines(self) -> int:
        """Fail the tasks whose time is up; how many deadlines there were."""
        deadlines = await self._due.deadlines(self._now())
        for deadline in deadlines:
            with caused_by(deadline.origin, SERVICE):
                await self._records.miss_deadline(deadline.task_id)
        return len(deadlines)

    async def attend_due(self) -> int:
        """Begin what is due now, as far as there is room; how many jobs there were.

        Never waits for a provider, so that a slow one can't hold up the deadlines.
        """
        now, begun = self._now(), 0
        if (room := LOOKING_MAX - len(self._looking)) > 0:
            for job in await self._due.claim(now, room):
                begun += 1
                LOOKS_LATE.observe(max(0.0, (now - job.next_look_at).total_seconds()))
                self._begin(self._looking, job, self._attend)
        if (room := SUBMITTING_MAX - len(self._submitting)) > 0:
            for job in await self._lanes.claim(now, room):
                begun += 1
                self._begin(self._submitting, job, self._attend)
                self._wake.set()  # there may be more of them
        if (room := SUBMITTING_MAX - len(self._submitting)) > 0:
            for job in await self._lanes.set_aside(now, room):
                begun += 1
                self._begin(self._submitting, job, self._divert)
        return begun

    async def finish(self, timeout_s: float | None = None) -> None:
        """Wait for what is being asked; after the time-out it is dropped, and found again later."""
        if asking := self._looking | self._submitting:
            _, late = await asyncio.wait(asking, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(
        self,
        asking: set[asyncio.Task[None]],
        job: DueJob,
        attend: Callable[[DueJob], Coroutine[Any, Any, None]],
    ) -> None:
        def answered(task: asyncio.Task[None]) -> None:
            asking.discard(task)
            if len(asking) in (LOOKING_MAX // 2, SUBMITTING_MAX // 2):
                self._wake.set()

        task = asyncio.create_task(self._carefully(attend, job))
        asking.add(task)
        task.add_done_callback(answered)

    async def _carefully(
        self, attend: Callable[[DueJob], Coroutine[Any, Any, None]], job: DueJob
    ) -> None:
        try:
            with caused_by(job.origin, SERVICE):
                await attend(job)
        except (*DATABASE_AWAY, TimeoutError) as error:
            # The lease runs out and the job is claimed again, or counted as unknown.
            _log.warning("job_not_recorded", job_id=str(job.job_id), error=type(error).__name__)
        except Exception:  # noqa: BLE001 - one job's fault must not end the others
            _log.exception("job_failed", job_id=str(job.job_id))

    async def _attend(self, job: DueJob) -> None:
        match job.state:
            case "submitting":
                await self._submit(job)
            case "submitted":
                await self._look(job)
            case _:
                await self._find(job)

    async def _submit(self, job: DueJob) -> None:
        task, _ = await self._store.read(TASK, TASK.stream_id(job.task_id))
        if task.stage.ended:
            await self._records.end(job, "task ended before submit")
            self._freed(job)
            return
        wanted = await self._requests.of(job, task)
        if not isinstance(wanted, Job):
            await self._fail(job, wanted or Refused(Fault.INVALID, "the request was erased"))
            return
        vendor = await self._vendors.asked_under(job.provider, job.key_owner_id)
        if isinstance(vendor, Refused):
            answer: Submission = vendor
        else:
            answer = await vendor.submit(wanted)
            self._note(self._breakers, job, answer)
        _log.info("job_submitted", job_id=str(job.job_id), answer=type(answer).__name__)
        match answer:
            case Accepted(provider_job_id):
                await self._records.accepted(job, provider_job_id)
            case Made(content):
                await self._records.made(job, content)
                self._freed(job)
            case Refused(Fault.UNKNOWN, words):
                await self._due.unknown(job, words, self._now())
                child(UNKNOWN_OUTCOMES, job.provider, "lost").inc()
                _log.warning("outcome_unknown", job_id=str(job.job_id), provider=job.provider)
            case Refused():
                await self._not_taken(job, answer, task, wanted)

    async def _not_taken(self, job: DueJob, refused: Refused, task: Task, wanted: Job) -> None:
        """The provider surely took nothing: another one, later, or never."""
        gone = refused.fault in KEY_FAULTS or (
            refused.fault == Fault.UNAVAILABLE
            and (
                job.looks + 1 >= UNAVAILABLE_MAX
                or self._breakers.room(job.lane, self._now()) is not None
            )
        )
        if gone and await self._ask_another(job, refused, task, wanted.options):
            return
        if refused.fault not in TRANSIENT:
            await self._fail(job, refused)
            return
        at = self._after_refusal(job, refused)
        await self._due.not_taken(job, refused.message, at)
        self._freed(job)
        if refused.fault == Fault.RATE_LIMITED:
            self._lanes.rest(job.lane, at)

    async def _ask_another(self, job: DueJob, refused: Refused, task: Task, options: Any) -> bool:
        """Whether there is another provider. Never under a user's own key, which is one provider's,
        and never for a task that was priced so."""
        if job.key_owner_id is not None or task.own_key:
            return False
        for source in self._catalogue.others_after(task.model_id, job.provider, options):
            closed = self._breakers.room(source.provider, self._now()) == 0
            if source.provider in self._vendors.providers and not closed:
                await self._records.try_again(
                    job, refused, source.provider, source.name_for(options)
                )
                self._freed(job)
                return True
        return False

    async def _divert(self, job: DueJob) -> None:
        """It waits for a provider that is down: another one makes it, or it waits on."""
        if job.key_owner_id is not None:
            return
        task, _ = await self._store.read(TASK, TASK.stream_id(job.task_id))
        wanted = None if task.stage.ended else await self._requests.of(job, task)
        if isinstance(wanted, Job):
            down = Refused(Fault.UNAVAILABLE, "The provider does not answer.")
            await self._ask_another(job, down, task, wanted.options)

    async def _look(self, job: DueJob) -> None:
        assert job.provider_job_id is not None, "a submitted job has the vendor's id"
        room = self._look_breakers.room(job.lane, self._now())
        if room == 0:
            later = self._look_breakers.reopens_at(job.lane, self._now())
            await self._look_later(job, 0, self._in((later - self._now()).total_seconds(), job))
            return
        self._look_breakers.asked(job.lane, self._now())
        vendor = await self._vendors.asked_under(job.provider, job.key_owner_id)
        if isinstance(vendor, Refused):
            answer: Look = vendor
        else:
            if job.cancel_wanted:
                await self._cancel(job, vendor, job.provider_job_id)
            answer = await vendor.look(job.provider_job_id)
            self._note(self._look_breakers, job, answer)
        match answer:
            case Running(progress):
                await self._look_later(job, progress, self._next_look(job))
            case Succeeded(urls) if urls:
                await self._records.produced(job, urls[0])
                self._freed(job)
            case Succeeded():
                await self._fail(job, Refused(Fault.FAILED, "no result"))
            case Refused(fault) if fault in TRANSIENT or self._is_ours_to_mend(job, fault):
                await self._look_later(job, 0, self._after_refusal(job, answer))
            case Refused(Fault.LOST) if job.attempt < ATTEMPTS_MAX:
                # It has no such job, so nothing of it can still be billed.
                await self._records.try_again(job, answer, job.provider, job.model)
                self._freed(job)
            case Refused():
                await self._fail(job, answer)

    @staticmethod
    def _is_ours_to_mend(job: DueJob, fault: Fault) -> bool:
        """The platform's key is refused, which says nothing of a job that was taken: it is made,
        and billed, all the same."""
        return fault in KEY_FAULTS and job.key_owner_id is None

    async def _look_later(self, job: DueJob, progress: int, at: datetime) -> None:
        if job.looks >= LOOKS_MAX:
            await self._fail(job, Refused(Fault.FAILED, "it never ended"))
        else:
            await self._laters.record(LookLater(job.job_id, progress, at))
            if progress > job.progress:
                self._progressed(job.task_id)

    async def _cancel(self, job: DueJob, vendor: Provider, provider_job_id: str) -> None:
        """Once, whatever comes of it: how the job ends is seen by looking."""
        if await self._due.cancel_asked(job):
            stops = await vendor.cancel(provider_job_id)
            _log.info("job_cancel_asked", job_id=str(job.job_id), stops=stops)

    async def _find(self, job: DueJob) -> None:
        """A job whose answer was lost is looked for, and never submitted again."""
        match await self._found(job):
            case Accepted(provider_job_id):
                await self._records.accepted(job, provider_job_id)
            case Made(content):
                await self._records.made(job, content)
                self._freed(job)
            case Refused(Fault.LOST) as lost if job.attempt < ATTEMPTS_MAX:
                await self._records.try_again(job, lost, job.provider, job.model)
                self._freed(job)
            case Refused(fault) as refused if fault not in TRANSIENT | {Fault.UNKNOWN}:
                await self._fail(job, refused)
            case _:
                await self._not_found(job)
                return
        child(UNKNOWN_OUTCOMES, job.provider, "found").inc()
        _log.info("outcome_found", job_id=str(job.job_id), provider=job.provider)

    async def _found(self, job: DueJob) -> Submission | None:
        task, _ = await self._store.read(TASK, TASK.stream_id(job.task_id))
        wanted = await self._requests.of(job, task)
        if not isinstance(wanted, Job):
            return None
        vendor = await self._vendors.asked_under(job.provider, job.key_owner_id)
        return None if isinstance(vendor, Refused) else await vendor.find(wanted)

    async def _not_found(self, job: DueJob) -> None:
        now = self._now()
        until = job.unknown_until or now
        if now < until:
            grown_s = min(FIND_MAX_S, FIND_FIRST_S * 2 ** min(job.looks, 10))
            await self._laters.record(LookLater(job.job_id, 0, min(until, self._in(grown_s, job))))
            return
        await self._records.give_up(job)
        self._freed(job)
        child(UNKNOWN_OUTCOMES, job.provider, "given_up").inc()
        _log.error("outcome_given_up", job_id=str(job.job_id), provider=job.provider)

    async def _fail(self, job: DueJob, refused: Refused) -> None:
        await self._records.fail(job, refused)
        self._freed(job)

    def _note(self, breakers: Breakers, job: DueJob, answer: Submission | Look) -> None:
        """Whether the vendor is there."""
        match answer:
            case Refused(Fault.UNAVAILABLE | Fault.UNKNOWN):
                breakers.failed(job.lane, self._now())
            case _:
                breakers.answered(job.lane)

    def _freed(self, job: DueJob) -> None:
        if self._lanes.freed(job.lane):
            self._wake.set()

    def _next_look(self, job: DueJob) -> datetime:
        """Later and later, and no sooner than the lane's jobs can be looked at in their turn."""
        grown_s = self._first_look_s * LOOK_GROWTH ** min(job.looks + 1, 16)
        delay_s = min(grown_s, max(LOOK_MAX_S, self._first_look_s))
        looks_per_s = self._lanes.limits_of(job.lane).looks_per_s or LOOKS_PER_S
        return self._in(max(delay_s, self._lanes.running(job.lane) / looks_per_s), job)

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
        due = await self._due.next_due(self._now())
        wait_s = LANE_POLL_S if self._lanes.anybody_waits else POLL_EVERY_S
        if due is not None and len(self._looking) < LOOKING_MAX:
            wait_s = min(wait_s, max(TOGETHER_S, (due - self._now()).total_seconds()))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        self._wake.clear()
