"""Tells vendors that a task was cancelled, so that they stop making what nobody wants.

A kindness that nothing depends on: credits went by the outcome policy already, and each job is
looked at until its vendor has ended it. What a crash, or too many at once, leaves untold is made in
vain.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

import structlog

from kernel.event_store import EventStore
from kernel.sql import DATABASE_AWAY
from kernel.unit import Recorded
from services.generation.adapters.due_list import DueJob, DueList
from services.generation.adapters.vendors import Vendors
from services.generation.domain.messages import TaskCancelled

TASKS_MAX: Final = 1_000
CALL_TIMEOUT_S: Final = 10.0

_log = structlog.get_logger(__name__)


@runtime_checkable
class CallsOff(Protocol):
    """A provider that can end a job before it is done."""

    async def cancel(self, provider_job_id: str) -> object: ...


class CallingOff:
    """For each task that is cancelled in this process: its jobs, one after the other."""

    def __init__(self, store: EventStore, due: DueList, vendors: Vendors) -> None:
        self._due = due
        self._vendors = vendors
        self._cancelled: asyncio.Queue[UUID] = asyncio.Queue(TASKS_MAX)
        store.on_commit(self._note)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.call_off(await self._cancelled.get())

    async def call_off(self, task_id: UUID) -> None:
        try:
            for job in await self._due.submitted_of(task_id):
                await self._tell(job)
        except (*DATABASE_AWAY, TimeoutError) as error:
            _log.warning("jobs_not_called_off", task_id=str(task_id), error=type(error).__name__)

    async def _tell(self, job: DueJob) -> None:
        vendor = await self._vendors.asked_under(job.provider, job.key_owner_id)
        if not isinstance(vendor, CallsOff) or job.provider_job_id is None:
            return
        async with asyncio.timeout(CALL_TIMEOUT_S):
            answer = await vendor.cancel(job.provider_job_id)
        _log.info("job_called_off", job_id=str(job.job_id), answer=type(answer).__name__)

    def _note(self, recorded: Sequence[Recorded[Any]], _: object) -> None:
        for item in recorded:
            if isinstance(item.event, TaskCancelled) and not self._cancelled.full():
                self._cancelled.put_nowait(item.event.task_id)
