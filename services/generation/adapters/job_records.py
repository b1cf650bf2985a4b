"""What came of a provider job: each answer and its effect on the task commit together."""

from datetime import datetime, timedelta
from uuid import UUID

import structlog

from kernel.event_store import EventStore
from kernel.objects import ObjectStore, ObjectStoreAway
from kernel.telemetry.metrics import child
from kernel.unit import Unit
from services.generation.adapters.due_list import (
    DueJob,
    record_job,
    record_job_end,
    record_met,
    record_submitted,
    record_unneeded,
)
from services.generation.adapters.metrics import ATTEMPTS_FAILED
from services.generation.adapters.providers import (
    KEY_FAULTS,
    OUTCOME_BY_FAULT,
    OWN_KEY_REFUSED,
    Fault,
    Refused,
)
from services.generation.adapters.undelivered import record_undelivered
from services.generation.domain.messages import (
    FailTask,
    OutputProduced,
    RecordAttemptFailed,
    RecordProduced,
    RecordSubmitted,
)
from services.generation.domain.task import SAGA, TASK

_log = structlog.get_logger(__name__)


class JobRecords:
    def __init__(self, store: EventStore, objects: ObjectStore, first_look: timedelta) -> None:
        self._store = store
        self._objects = objects
        self._first_look = first_look

    async def accepted(self, job: DueJob, provider_job_id: str) -> None:
        now = self._now()
        command = RecordSubmitted(job.output_index, job.attempt, job.provider, provider_job_id, now)

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_submitted(unit, job, provider_job_id, now + self._first_look)

        await self._store.transact(work)

    async def made(self, job: DueJob, content: bytes) -> None:
        """The bytes first, then the record: what a crash leaves between is an object that nobody
        names until the job, whose answer was lost, is given up. A task that has ended meanwhile
        wants them no more. Where the object store won't take them, the task has failed."""
        key = _claim_of(job)
        try:
            await self._objects.put_bytes(key, content)
        except ObjectStoreAway as error:
            _log.error("output_not_kept", job_id=str(job.job_id), error=type(error).__name__)
            await self._not_kept(job, content)
            return
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

    async def _not_kept(self, job: DueJob, content: bytes) -> None:
        """Its bytes are kept for whoever waits for them."""
        command = FailTask(
            "delivery_failed", "storage_failed", "The output could not be stored.", self._now()
        )

        async def work(unit: Unit) -> None:
            if await unit.decide(SAGA, TASK.stream_id(job.task_id), command):
                record_undelivered(unit, job.task_id, job.output_index, content)
            record_job_end(unit, job, "failed", "not kept")
            record_unneeded(unit, job.task_id)

        await self._store.transact(work)

    async def produced(self, job: DueJob, url: str) -> None:
        """A success after the task has ended is recorded, and not delivered."""
        command = RecordProduced(job.output_index, url, self._now(), provider=job.provider)

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_job_end(unit, job, "done")

        await self._store.transact(work)

    async def try_again(self, job: DueJob, refused: Refused, provider: str, model: str) -> None:
        """Another attempt, after one of which nothing can still be billed; none for a task that has
        ended meanwhile."""
        command = RecordAttemptFailed(
            job.output_index, job.attempt, job.provider, refused.fault.value, self._now()
        )

        async def work(unit: Unit) -> bool:
            recorded = await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_job_end(unit, job, "failed" if recorded else "ended", refused.message)
            if recorded:
                task = await unit.state(TASK, TASK.stream_id(job.task_id))
                record_job(
                    unit,
                    task_id=job.task_id,
                    output_index=job.output_index,
                    attempt=job.attempt + 1,
                    provider=provider,
                    model=model,
                    due_at=command.at,
                    key_owner_id=job.key_owner_id,
                    user_id=task.user_id,
                )
            return bool(recorded)

        if await self._store.transact(work):
            child(ATTEMPTS_FAILED, job.provider, refused.fault.value).inc()
            _log.warning(
                "attempt_failed",
                job_id=str(job.job_id),
                fault=refused.fault.value,
                next_provider=provider,
            )

    async def fail(self, job: DueJob, refused: Refused) -> None:
        outcome, code, message = OUTCOME_BY_FAULT[refused.fault]
        if job.key_owner_id is not None and refused.fault in KEY_FAULTS:
            code, message = OWN_KEY_REFUSED
        _log.warning("job_refused", job_id=str(job.job_id), fault=refused.fault.value)
        command = FailTask(outcome, code, message, self._now())

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(job.task_id), command)
            record_job_end(unit, job, "failed", refused.message)
            record_unneeded(unit, job.task_id)

        await self._store.transact(work)

    async def give_up(self, job: DueJob) -> None:
        """Its answer was lost and not found again: the platform bears what it may cost."""
        await self._objects.delete(_claim_of(job))
        await self.fail(job, Refused(Fault.UNKNOWN, "never found again"))

    async def end(self, job: DueJob, words: str) -> None:
        async def work(unit: Unit) -> None:
            record_job_end(unit, job, "ended", words)

        await self._store.transact(work)

    async def miss_deadline(self, task_id: UUID) -> None:
        command = FailTask("deadline_missed", "deadline_missed", "It took too long.", self._now())

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(task_id), command)
            record_met(unit, task_id)
            record_unneeded(unit, task_id)

        await self._store.transact(work)

    def _now(self) -> datetime:
        return self._store.clock.now()


def _claim_of(job: DueJob) -> str:
    """Where the object store holds what came with the vendor's answer."""
    return f"claims/{job.job_id}"
