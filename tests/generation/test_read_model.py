"""The read model is what the events say, and can be made anew from them at any time."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from contracts.storage import OutputStored
from kernel.clock import new_id
from kernel.projections import rebuild, verify
from kernel.testing import envelope_of
from services.generation.adapters.providers import Fault, Refused, Succeeded
from services.generation.app import AGGREGATES
from services.generation.domain.messages import CancelTask, GiveUpReserving
from services.generation.domain.task import SAGA, TASK
from services.generation.read_model import READ_MODEL
from tests.generation.conftest import FILE, Bench


async def rows(bench: Bench) -> list[Mapping[str, Any]]:
    return await bench.rows("SELECT * FROM generation_read.generation_tasks ORDER BY task_id")


async def lived(bench: Bench) -> None:
    """One task of each ending, and some that go on."""
    store, inbox = bench.service.store, bench.service.inbox
    assert store is not None
    assert inbox is not None
    bench.provider.submissions.append(Refused(Fault.MODERATED, "no"))
    bench.provider.looks.extend([Succeeded(("https://cdn.test/a.png",))] * 3)
    tasks = [await bench.task()]
    await bench.attend()
    tasks += [await bench.task(outputs=2), await bench.task()]
    await bench.attend()
    await bench.attend(after_s=1)
    for index in (1, 0):
        stored = OutputStored(task_id=tasks[1], user_id=bench.user_id, index=index, file=FILE)
        await inbox.receive(envelope_of(stored))
    cancelled = await bench.task()
    await store.handle(SAGA, TASK.stream_id(cancelled), CancelTask(bench.clock.now()))
    late = await bench.task(deadline_s=1)
    await store.handle(SAGA, TASK.stream_id(late), GiveUpReserving(bench.clock.now()))
    await bench.task()
    await bench.attend(after_s=2)


async def test_rebuilding_gives_the_same_rows(bench: Bench) -> None:
    await lived(bench)
    before = await rows(bench)
    assert {row["stage"] for row in before} == {
        *("completed", "failed", "cancelled", "processing"),
    }
    await bench.rows("UPDATE generation_read.generation_tasks SET stage = 'x', outputs = '{}'")
    await rebuild(bench.platform.database, "generation", READ_MODEL, AGGREGATES)
    assert await rows(bench) == before


async def test_every_head_is_the_fold_of_its_events(bench: Bench) -> None:
    await lived(bench)
    assert await verify(bench.platform.database, "generation", AGGREGATES) == []


async def test_shows_the_version_that_the_stream_has(bench: Bench) -> None:
    await lived(bench)
    heads = await bench.rows("SELECT stream_id, version FROM generation.streams")
    shown = {TASK.stream_id(row["task_id"]): row["version"] for row in await rows(bench)}
    assert shown == {row["stream_id"]: row["version"] for row in heads}


async def test_counts_the_tasks_that_a_key_asked_for_on_each_day(bench: Bench) -> None:
    key_id, other_id = new_id(), new_id()
    for key, days in ((key_id, 0), (key_id, 0), (other_id, 0), (key_id, 1), (None, 0)):
        bench.clock.turn(timedelta(days=days))
        await bench.task(key_id=key)
    counted = await bench.rows(
        "SELECT key_id, tasks FROM generation_read.daily_usage ORDER BY day, key_id"
    )
    assert [(row["key_id"], row["tasks"]) for row in counted] == [
        (key_id, 2),
        (other_id, 1),
        (key_id, 1),
    ]
    await bench.rows("UPDATE generation_read.daily_usage SET tasks = 9")
    await rebuild(bench.platform.database, "generation", READ_MODEL, AGGREGATES)
    again = await bench.rows(
        "SELECT key_id, tasks FROM generation_read.daily_usage ORDER BY day, key_id"
    )
    assert again == counted
