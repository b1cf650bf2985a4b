"""Takes jobs, has them rendered by a few processes, and remembers; speaks no vendor's protocol."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from kernel.clock import Clock
from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Journal
from services.simulator.adapters.pool import RenderFailed, RenderProcess
from services.simulator.domain.jobs import (
    DELETED,
    FAILED,
    Job,
    Outcome,
    View,
    early_outcome,
    look,
    rendered_outcome,
    wants_render,
)

RENDER_TRIES: Final = 2


class Studio:
    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        files: ResultFiles,
        processes: list[RenderProcess],
        *,
        max_unfinished: int,
        warm_after_s: float,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._files = files
        self._processes = processes
        self._warm_after_s = warm_after_s
        self._queue: asyncio.Queue[Job] = asyncio.Queue(max_unfinished)
        self._started_ms: dict[str, int] = {}
        self._looks: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.on_end: Callable[[Job, Outcome], None] | None = None
        """Told once of each job's end, which may lie in the future."""

    def now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    @property
    def full(self) -> bool:
        return self._queue.full()

    def start(self) -> None:
        """Open the books, take up what was left unfinished, and start the lanes."""
        self._journal.open(self.now_ms())
        wanted = {job.filename for job in self._journal.jobs.values()}
        wanted |= {job.first_frame_name for job in self._journal.unfinished()}
        self._files.open(frozenset(wanted))
        for job in self._journal.unfinished():
            if wants_render(job):
                self._enqueue(job)
        self._tasks = [asyncio.create_task(self._lane(one)) for one in self._processes]
        self._tasks.append(asyncio.create_task(self._warm()))

    async def stop(self) -> None:
        """End at once: what is being drawn is drawn again after the next start."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        await asyncio.gather(*(one.stop() for one in self._processes))
        self._journal.close()

    def accept(self, job: Job, first_frame: bytes = b"") -> None:
        """Remember a job, then do it; the caller has seen that the studio is not `full`.

        `first_frame` is the picture a film begins with: the studio itself fetches nothing.
        """
        self._journal.accept(job)
        for gone in self._journal.forget_old(self.now_ms()):
            self._files.forget(gone.filename)
            self._looks.pop(gone.task_id, None)
            self._started_ms.pop(gone.task_id, None)
        outcome = early_outcome(job)
        if outcome is not None:
            self._finish(outcome)
        elif wants_render(job):
            if first_frame:
                self._files.path(job.first_frame_name).write_bytes(first_frame)
                self._files.note(job.first_frame_name)
            self._enqueue(job)

    def look(self, task_id: str) -> tuple[Job, View, int] | None:
        """(job, what is said of it now, how many times it was looked at), or nothing known."""
        job = self._journal.jobs.get(task_id)
        if job is None or job.has("lost"):
            return None
        nth = self._looks[task_id] = self._looks.get(task_id, 0) + 1
        outcome = self._journal.outcomes.get(task_id)
        started_ms = self._started_ms.get(task_id)
        return job, look(job, outcome, started_ms, self.now_ms(), nth), nth

    def peek(self, task_id: str) -> View | None:
        """What would be said of a job now; no look is counted."""
        job = self._journal.jobs.get(task_id)
        outcome = self._journal.outcomes.get(task_id)
        started_ms = self._started_ms.get(task_id)
        return look(job, outcome, started_ms, self.now_ms(), 1) if job else None

    def delete(self, task_id: str) -> None:
        """Call a job off: what is not yet begun is never made, what is made is not delivered."""
        self._finish(Outcome(task_id, self.now_ms(), 0, DELETED))

    def looks(self, task_id: str) -> int:
        return self._looks.get(task_id, 0)

    def _enqueue(self, job: Job) -> None:
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            self._finish(Outcome(job.task_id, self.now_ms(), 0, FAILED))

    def _finish(self, outcome: Outcome) -> None:
        job = self._journal.jobs.get(outcome.task_id)
        if job is None or outcome.task_id in self._journal.outcomes:
            return
        self._journal.finish(outcome)
        if self.on_end is not None:
            self.on_end(job, outcome)

    async def _warm(self) -> None:
        await asyncio.sleep(self._warm_after_s)
        for one in self._processes:
            with suppress(OSError):  # only a head start: the first job tries again and tells
                await one.start()

    async def _lane(self, process: RenderProcess) -> None:
        while True:
            job = await self._queue.get()
            if job.task_id in self._journal.jobs and job.task_id not in self._journal.outcomes:
                await self._draw(process, job)

    async def _draw(self, process: RenderProcess, job: Job) -> None:
        started_ms = self._started_ms[job.task_id] = self.now_ms()
        outcome = Outcome(job.task_id, started_ms, 0, FAILED)
        for _ in range(RENDER_TRIES):
            try:
                path = self._files.path(job.filename)
                await process.render(job.commission, path, self._first_frame(job))
                self._files.note(job.filename)
            except (RenderFailed, OSError):  # a lane outlives its pictures, and a full disk
                continue
            outcome = rendered_outcome(job, started_ms, self.now_ms())
            break
        self._started_ms.pop(job.task_id, None)
        if outcome.fail_code == FAILED:
            outcome = replace(outcome, completed_ms=self.now_ms())
        if job.task_id not in self._journal.jobs:
            self._files.forget(job.filename)
        self._files.forget(job.first_frame_name)
        self._finish(outcome)

    def _first_frame(self, job: Job) -> Path | None:
        name = job.first_frame_name
        return self._files.path(name) if self._files.has(name) else None


def render_processes(
    workers: int, timeout_s: float, authority: Path | None = None
) -> list[RenderProcess]:
    """At most one per processor."""
    return [RenderProcess(timeout_s, authority) for _ in range(min(workers, os.cpu_count() or 1))]
