"""The feed of a task: each version that changed what its owner sees, once, in order, for all."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Envelope
from contracts.generation import TaskProgressed
from kernel.bus import MemoryBus
from kernel.clock import new_id
from kernel.context import Origin
from kernel.errors import Deferred, Unavailable
from kernel.http import Identity
from kernel.identifiers import parsed
from kernel.projections import history_of
from kernel.testing import envelope_of
from kernel.unit import Recorded, Unit
from kernel.waiting import Waiters
from services.generation.adapters.changes import TaskChanges
from services.generation.adapters.feeds import Followers
from services.generation.adapters.progress import TaskProgress
from services.generation.adapters.providers import Running
from services.generation.api import events
from services.generation.api.bodies import STATUS_BY_STAGE
from services.generation.api.events import FeedEntry, news_of
from services.generation.api.history import Past
from services.generation.domain.messages import (
    CancelTask,
    CreateTask,
    FailTask,
    HearDeclined,
    HearReserved,
    HearStored,
    RecordProduced,
    RecordSubmitted,
    TaskCommand,
    TaskEvent,
)
from services.generation.domain.task import SAGA, TASK, decide
from services.generation.read_model import replayed
from tests.generation.conftest import FILE, Bench, Generation, person, until
from tests.generation.streaming import Frame, following
from tests.generation.test_read_model import lived, rows

SEEN = ["pending", "processing", "completed"]


def statuses(frames: Sequence[Frame]) -> list[str]:
    return [frame.data["status"] for frame in frames if frame.event == "task"]


async def created(generation: Generation, me: Identity) -> str:
    answer = await generation.create(me)
    return str(answer.json()["task"]["id"])


def identity(task: str) -> UUID:
    task_id = parsed("task", task)
    assert task_id is not None
    return task_id


async def until_followed(generation: Generation, task: str, times: int = 1) -> None:
    waiters = generation.service.waiters
    assert waiters is not None

    async def followed() -> bool:
        return len(waiters._by_id.get(identity(task), ())) == times

    await until(followed)


async def test_follows_a_task_to_its_end(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        first = await stream.next()
        assert first is not None
        assert (first.event, first.id, first.data["status"]) == ("task", 1, "pending")
        assert first.data["id"] == task
        await generation.complete(identity(task))
        frames = [first, *await stream.rest()]
    assert statuses(frames) == SEEN
    numbers = [frame.id for frame in frames]
    assert numbers == sorted({number for number in numbers if number is not None})
    shown = (await generation.call("GET", f"/tasks/{task}", me)).json()["task"]
    assert frames[-1].data.items() >= {"status": "completed", "progress": 100}.items()
    assert frames[-1].data["outputs"][0]["sha256"] == shown["outputs"][0]["sha256"]
    assert generation.service.waiters is not None
    assert generation.service.waiters._by_id == {}


async def test_says_what_was_before_to_who_comes_late(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    await generation.complete(identity(task))
    async with following(generation, me, task) as stream:
        assert statuses(await stream.rest()) == SEEN


@pytest.mark.parametrize("as_header", [True, False])
async def test_goes_on_after_what_was_seen_last(generation: Generation, *, as_header: bool) -> None:
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task) as stream:
        first = await stream.next()
    assert first is not None
    await generation.complete(identity(task))
    headers = {"last_event_id": str(first.id)} if as_header else {}
    query = "after=0" if as_header else f"after={first.id}"
    async with following(generation, me, task, query, **headers) as stream:
        assert statuses(await stream.rest()) == SEEN[1:]


async def test_nothing_is_left_to_say_to_who_has_seen_the_end(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    await generation.complete(identity(task))
    async with following(generation, me, task) as stream:
        last = (await stream.rest())[-1].id
    for known in (last, 2**31 - 1):
        async with following(generation, me, task, last_event_id=str(known)) as stream:
            assert (stream.status, await stream.next()) == (204, None)


async def test_who_polls_gets_the_same_entries(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    as_json = {"accept": "application/json"}
    path = f"/tasks/{task}/events"
    now = (await generation.call("GET", path, me, headers=as_json)).json()
    assert [entry["task"]["status"] for entry in now["events"]] == ["pending"]
    assert not now["ended"]
    await generation.complete(identity(task))
    query = f"?after={now['next_after']}"
    later = (await generation.call("GET", f"{path}{query}", me, headers=as_json)).json()
    assert [entry["task"]["status"] for entry in later["events"]] == SEEN[1:]
    assert later["ended"]
    query = f"?after={later['next_after']}"
    none = (await generation.call("GET", f"{path}{query}", me, headers=as_json)).json()
    assert (none["events"], none["next_after"]) == ([], later["next_after"])
    async with following(generation, me, task) as stream:
        streamed = [(frame.id, frame.data["status"]) for frame in await stream.rest()]
    polled = [*now["events"], *later["events"]]
    assert streamed == [(entry["version"], entry["task"]["status"]) for entry in polled]


async def test_refuses_what_is_no_version(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    for query, headers in (
        ("?after=-1", {}),
        ("?after=x", {}),
        ("?after=2147483648", {}),
        ("", {"last-event-id": "x"}),
    ):
        answer = await generation.call("GET", f"/tasks/{task}/events{query}", me, headers=headers)
        assert answer.status_code == 422, query
        [named] = answer.json()["details"]["fields"]
        assert named["field"] == (next(iter(headers)) if headers else "after")


async def test_tells_how_far_it_is_without_a_number(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task, "after=1") as stream:
        for progress in (30, 20, 100):
            said = TaskProgressed(task_id=identity(task), progress=progress)
            await generation.platform.bus.broadcast(envelope_of(said))
            if progress != 20:
                frame = await stream.next()
                wanted = Frame("progress", None, {"id": task, "progress": min(progress, 99)})
                assert frame == wanted


async def test_a_client_that_leaves_leaves_nothing_behind(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task) as stream:
        await stream.next()
        await until_followed(generation, task)
    assert generation.service.waiters is not None
    assert generation.service.waiters._by_id == {}
    assert generation.service.waiters._count == 0


async def test_ends_where_the_service_does(generation: Generation) -> None:
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task) as stream:
        await stream.next()
        assert generation.service.waiters is not None
        generation.service.waiters.end()
        assert await stream.next() is None


async def test_ends_when_its_task_is_removed_meanwhile(generation: Generation) -> None:
    """Its end was seen by nobody: the word of it was lost, and then it was removed."""
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task) as stream:
        await stream.next()
        waiters = generation.service.waiters
        assert waiters is not None
        waiting = waiters._by_id.pop(identity(task))
        for _ in range(2):
            await generation.call("DELETE", f"/tasks/{task}", me)
        waiters._by_id[identity(task)] = waiting
        waiters.changed(identity(task))
        assert await stream.next() is None


async def test_so_many_and_no_more_follow_at_once(generation: Generation) -> None:
    assert generation.service.store is not None
    followers = Followers(generation.service.store, MemoryBus(), Waiters(), followers_max=2)
    with followers.following(new_id()), followers.following(new_id()):
        with pytest.raises(Unavailable), followers.following(new_id()):
            pass
        assert followers.count == 2
    with followers.following(new_id()):
        assert followers.count == 1


async def test_finds_what_no_broadcast_has_told(generation: Generation) -> None:
    store, waiters = generation.service.store, Waiters()
    assert store is not None
    followers = Followers(store, MemoryBus(), waiters)
    await followers.sweep()
    task = identity(await created(generation, person()))
    with followers.following(task) as follower:
        follower.change()
        follower.known_version = (await store.read(TASK, TASK.stream_id(task)))[1]
        await followers.sweep()
        assert not follower.is_set()
        await store.handle(SAGA, TASK.stream_id(task), CancelTask(generation.clock.now()))
        await followers.sweep()
        assert follower.is_set()
        assert follower.change()


async def test_every_task_of_a_commit_is_told_of(bench: Bench) -> None:
    """Messages of several tasks share a commit."""
    store, waiters = bench.service.store, Waiters()
    assert store is not None
    tasks = [await bench.task() for _ in range(3)]
    telling = asyncio.create_task(TaskChanges(store, MemoryBus(), waiters).run())

    async def work(unit: Unit) -> None:
        for task in tasks:
            await unit.decide(SAGA, TASK.stream_id(task), CancelTask(bench.clock.now()))

    try:
        with (
            waiters.subscribed(tasks[0]) as first,
            waiters.subscribed(tasks[1]) as second,
            waiters.subscribed(tasks[2]) as third,
        ):
            await store.transact(work)
            async with asyncio.timeout(30):
                await asyncio.gather(first.wait(), second.wait(), third.wait())
    finally:
        telling.cancel()


async def test_what_a_provider_says_is_broadcast_once_it_is_more(bench: Bench) -> None:
    heard: asyncio.Queue[TaskProgressed] = asyncio.Queue()
    bus = MemoryBus()

    async def hear(envelope: Envelope) -> None:
        await heard.put(TaskProgressed.model_validate(envelope.data))

    bus.listen(TaskProgressed, hear)
    progress = TaskProgress(bench.due, bus, bench.clock)
    bench.jobs._progressed = progress.grown
    task = await bench.task(outputs=2)
    bench.provider.looks.extend([Running(20), Running(40), Running(40), Running(40)])
    telling = asyncio.create_task(progress.run())
    try:
        for _ in range(3):
            await bench.attend(after_s=10)
        async with asyncio.timeout(30):
            said = [await heard.get()]
            while said[-1].progress < 40:
                said.append(await heard.get())
    finally:
        telling.cancel()
    assert {one.task_id for one in said} == {task}
    assert heard.empty()


async def test_a_comment_says_that_it_still_goes_on(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "COMMENT_EVERY_S", 0.01)
    me = person()
    task = await created(generation, me)
    async with following(generation, me, task) as stream:
        await stream.next()
        await stream.comment()


async def test_replaying_a_task_gives_the_row_that_it_has(bench: Bench) -> None:
    await lived(bench)
    store = bench.service.store
    assert store is not None
    for row in await rows(bench):
        async with store.database.connection() as connection:
            history = await history_of(
                connection, "generation", store.codec, TASK.stream_id(row["task_id"]), 1_000
            )
        assert list(replayed(history))[-1] == row


AT = datetime(2026, 1, 1, tzinfo=UTC)


class Links:
    def link(self, key: str, *, expires_at: datetime) -> str:
        return f"https://smartspec.test/{key}?{expires_at}"


LINKS = Links()
CREATE = CreateTask(
    task_id=UUID(int=1),
    user_id=UUID(int=2),
    account_id=UUID(int=2),
    key_id=None,
    monthly_credit_limit_units=None,
    task_type="image",
    model_id="flux-2",
    provider="kie",
    price_units=15_000,
    outputs=2,
    width=512,
    height=512,
    prompt_sha256="0" * 64,
    deadline_at=AT,
    at=AT,
)
STEPS: Sequence[TaskCommand] = (
    HearReserved(AT),
    HearDeclined(15_000, 0, AT),
    *(RecordSubmitted(index, 1, "kie", f"job-{index}", AT) for index in range(2)),
    *(RecordProduced(index, "https://cdn.test/a.png", AT) for index in range(2)),
    *(HearStored(index, FILE.model_dump(mode="json"), AT) for index in range(2)),
    FailTask("provider_failed", "provider_failed", "It could not.", AT),
    CancelTask(AT),
)


def history(commands: Sequence[TaskCommand]) -> list[Recorded[TaskEvent]]:
    """What follows of them, those left out that come too early."""
    recorded: list[Recorded[TaskEvent]] = []
    state = TASK.initial_state()
    for command in (CREATE, *commands):
        with suppress(Deferred):
            for event in decide(command, state):
                state = TASK.evolve(state, event)
                version = len(recorded) + 1
                recorded.append(
                    Recorded(UUID(int=version), "task-1", version, event, AT, Origin("test-0001"))
                )
    return recorded


@given(
    st.lists(st.sampled_from(STEPS), max_size=20) | st.just(STEPS[2:8]),
    st.lists(st.integers(0, 30), max_size=8),
    st.data(),
)
@settings(max_examples=60)
def test_whenever_somebody_comes_back_they_see_each_version_once_and_in_order(
    commands: Sequence[TaskCommand], read_at: Sequence[int], data: st.DataObject
) -> None:
    """They read at any moments, take any part of what they get, and come back with its number."""
    rows = list(replayed(history(commands)))
    whole = news_of(Past(rows, None), 0, LINKS, AT)
    seen: list[FeedEntry] = []
    for there in [*sorted(min(max(at, 1), len(rows)) for at in read_at), len(rows)]:
        known = seen[-1].version if seen else 0
        news = news_of(Past(rows[:there], None), known, LINKS, AT)
        taken = len(news.entries)
        if there < len(rows):
            taken = data.draw(st.integers(0, taken))
        seen += news.entries[:taken]
    assert seen == list(whole.entries)
    numbers = [entry.version for entry in seen]
    assert numbers == sorted(set(numbers))
    assert all(one.task != other.task for one, other in pairwise(seen))
    assert seen[-1].task.status == STATUS_BY_STAGE[rows[-1]["stage"]]
