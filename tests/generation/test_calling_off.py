"""Vendors are told what nobody wants any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.generation.adapters.calling_off import CallingOff, CallsOff
from services.generation.adapters.providers import Made
from services.generation.adapters.vendors import Vendors
from services.generation.domain.messages import CancelTask
from services.generation.domain.task import SAGA, TASK
from tests.generation.conftest import PLATFORM_KEY, Bench, until


@asynccontextmanager
async def calling_off(bench: Bench) -> AsyncIterator[None]:
    store = bench.service.store
    assert store is not None
    assert isinstance(bench.provider, CallsOff)
    vendors = Vendors({"kie": bench.provider}, bench.keys.own_keys)
    working = asyncio.create_task(CallingOff(store, bench.due, vendors).run())
    try:
        yield
    finally:
        working.cancel()


async def test_the_jobs_of_a_cancelled_task_are_called_off_at_their_vendor(bench: Bench) -> None:
    store = bench.service.store
    assert store is not None
    async with calling_off(bench):
        await bench.task()
        task = await bench.task(outputs=2)
        await bench.attend()
        await store.handle(SAGA, TASK.stream_id(task), CancelTask(bench.clock.now()))

        async def told() -> bool:
            return len(bench.provider.called_off) == 2

        await until(told)
    jobs = {row["provider_job_id"] for row in await bench.job_rows(task)}
    assert set(bench.provider.called_off) == {(job, PLATFORM_KEY) for job in jobs}


async def test_nothing_is_called_off_of_what_a_vendor_has_ended_or_never_had(bench: Bench) -> None:
    bench.provider.submissions.append(Made(b"a picture"))
    task = await bench.task()
    await bench.attend()
    waits = await bench.task()
    assert [await bench.due.submitted_of(one) for one in (task, waits)] == [[], []]
