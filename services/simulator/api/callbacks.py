"""Callbacks: when a job has ended its vendor posts what it has to say, in the vendor's own shape.

Each is tried once. Those that a restart falls between are lost, as may happen at a vendor: a
caller's polling has to find out.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from services.simulator.adapters.journal import Journal
from services.simulator.adapters.outside import Outside
from services.simulator.adapters.studio import Studio
from services.simulator.domain.callbacks import Delivery, Kind, at_acceptance, at_end
from services.simulator.domain.jobs import DELETED, Job, Outcome

MAX_SENDING: Final = 1_000

Compose = Callable[[Job, Kind], tuple[bytes, Mapping[str, str]]]
"""Makes the body and the headers of a callback at the moment it leaves."""


class Callbacks:
    def __init__(
        self, studio: Studio, journal: Journal, outside: Outside, *, max_expected: int
    ) -> None:
        self._studio = studio
        self._journal = journal
        self._outside = outside
        self._max_expected = max_expected
        self._expected: OrderedDict[str, list[tuple[str, Compose]]] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()
        studio.on_end = self._ended

    def expect(self, job: Job, url: str, compose: Compose) -> None:
        """Call `url` when the job ends; call this before the job is accepted."""
        self._expected.setdefault(job.task_id, []).append((url, compose))
        while len(self._expected) > self._max_expected:
            self._expected.popitem(last=False)
        self._send(job, url, compose, at_acceptance(job.scenarios), 0.0)

    async def stop(self) -> None:
        sending = tuple(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await self._outside.aclose()

    def _ended(self, job: Job, outcome: Outcome) -> None:
        wait_s = max(0, outcome.completed_ms - self._studio.now_ms() + 1) / 1000
        expected = self._expected.pop(job.task_id, [])
        for url, compose in expected if outcome.fail_code != DELETED else []:
            self._send(job, url, compose, at_end(job.scenarios), wait_s)

    def _send(
        self, job: Job, url: str, compose: Compose, sent: Iterable[Delivery], wait_s: float
    ) -> None:
        if len(self._sending) >= MAX_SENDING:
            return
        task = asyncio.create_task(self._deliver(job, url, compose, sent, wait_s))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(
        self, job: Job, url: str, compose: Compose, sent: Iterable[Delivery], wait_s: float
    ) -> None:
        await asyncio.sleep(wait_s)
        for one in sent:
            await asyncio.sleep(one.after_s)
            body, headers = compose(job, one.kind)
            code = await self._outside.post(url, body, headers)
            self._journal.ask(
                {
                    "at_ms": self._studio.now_ms(),
                    "vendor": job.vendor,
                    "operation": "callback",
                    "key": job.key,
                    "model": job.model,
                    "prompt": "",
                    "code": code,
                    "task_id": job.task_id,
                    "fault": "" if one.kind == "true" else one.kind,
                }
            )
