import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.credits import PlanChanged
from contracts.envelope import Envelope
from contracts.generation import OutputProduced
from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.inbox import Inbox
from kernel.sql import Database
from kernel.testing import FakeClock, envelope_of
from kernel.unit import Unit
from services.storage.adapters.plans import plan_of, record_plan
from services.storage.domain import OUTPUT, Output, Status, stream_of
from services.storage.inbox import subscriptions

URL = "https://vendor.example/output.png?token=canary"


@pytest.fixture
def store(database: Database, clock: FakeClock) -> EventStore:
    return EventStore(database, "storage", [OUTPUT], clock=clock)


@pytest.fixture
async def inbox(store: EventStore) -> Inbox:
    inbox = Inbox("storage", store, subscriptions(), tries_after_s=())
    await inbox.maintain()
    return inbox


def produced(task_id: UUID, index: int = 0, url: str = URL) -> Envelope:
    event = OutputProduced(
        task_id=task_id,
        user_id=UUID(int=7),
        account_id=UUID(int=8),
        index=index,
        task_type="image",
        url=url,
        width=1024,
        height=576,
        duration_seconds=5.0,
        mime_type="video/mp4",
        model_id="nano-banana-pro",
    )
    return envelope_of(event, subject=f"task-{task_id}", correlation_id="req_0123456789")


async def due_rows(database: Database) -> list[dict[str, Any]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM storage.output_fetches ORDER BY output_index")
    return [dict(row) for row in rows]


async def events(database: Database) -> list[str]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT type FROM storage.events ORDER BY position")
    return [row["type"] for row in rows]


async def messages(database: Database) -> list[str]:
    """What became of each message."""
    async with database.connection() as connection:
        return [row["state"] for row in await connection.fetch("SELECT state FROM storage.inbox")]


async def test_a_produced_output_is_expected_and_due_at_once(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    task_id = new_id()

    await inbox.receive(produced(task_id))

    state, version = await store.read(OUTPUT, stream_of(task_id, 0))
    assert (state, version) == (Output(Status.EXPECTED, task_id, UUID(int=7), 0, UUID(int=8)), 1)
    (row,) = await due_rows(store.database)
    assert (row["task_id"], row["user_id"], row["url"]) == (task_id, UUID(int=7), URL)
    assert (row["width"], row["height"], row["task_type"]) == (1024, 576, "image")
    assert (row["duration_seconds"], row["mime_type"]) == (5.0, "video/mp4")
    assert row["model_id"] == "nano-banana-pro"
    assert (row["state"], row["next_try_at"]) == ("waiting", clock.now())


async def test_the_due_row_remembers_the_request_and_the_message_that_led_to_it(
    inbox: Inbox, store: EventStore
) -> None:
    message = produced(new_id())

    await inbox.receive(message)

    (row,) = await due_rows(store.database)
    assert row["request_id"] == "req_0123456789"
    assert row["causation_id"] == str(message.id)


async def test_a_repeated_message_changes_nothing(inbox: Inbox, store: EventStore) -> None:
    message = produced(new_id())

    for _ in range(3):
        await inbox.receive(message)

    assert await events(store.database) == ["OutputExpected"]
    assert len(await due_rows(store.database)) == 1


async def test_an_output_that_is_announced_twice_keeps_its_first_address(
    inbox: Inbox, store: EventStore
) -> None:
    task_id = new_id()

    await inbox.receive(produced(task_id))
    await inbox.receive(produced(task_id, url="https://vendor.example/another.png"))

    assert [row["url"] for row in await due_rows(store.database)] == [URL]
    assert await messages(store.database) == ["done"] * 2


async def test_the_same_output_announced_many_times_at_once_is_fetched_once(
    inbox: Inbox, store: EventStore
) -> None:
    task_id = new_id()

    await asyncio.gather(*(inbox.receive(produced(task_id)) for _ in range(20)))

    assert await events(store.database) == ["OutputExpected"]
    assert len(await due_rows(store.database)) == 1
    assert await messages(store.database) == ["done"] * 20


async def test_the_outputs_of_one_task_are_fetched_each(inbox: Inbox, store: EventStore) -> None:
    task_id = new_id()

    await asyncio.gather(*(inbox.receive(produced(task_id, index)) for index in (1, 0, 2)))

    assert [row["output_index"] for row in await due_rows(store.database)] == [0, 1, 2]


async def test_the_address_is_in_no_event(inbox: Inbox, store: EventStore) -> None:
    await inbox.receive(produced(new_id()))

    async with store.database.connection() as connection:
        written = await connection.fetchval(
            "SELECT string_agg(data::text, ' ') FROM storage.events"
        )
    assert "canary" not in written


def plan_changed(user_id: UUID, plan: str, changed_at: datetime) -> Envelope:
    event = PlanChanged(
        account_id=UUID(int=8), user_id=user_id, plan_before="", plan=plan, changed_at=changed_at
    )
    return envelope_of(event, subject=f"account-{UUID(int=8)}")


async def test_the_latest_plan_of_a_user_is_remembered_in_whatever_order_it_is_heard(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    user_id, now = new_id(), clock.now()

    await inbox.receive(plan_changed(user_id, "pro", now))
    await inbox.receive(plan_changed(user_id, "free", now - timedelta(days=1)))

    assert await plan_of(store.database, user_id) == "pro"
    assert await plan_of(store.database, UUID(int=1)) is None


async def test_a_plan_that_a_request_told_gives_way_to_what_is_heard(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    user_id = new_id()

    async def told(unit: Unit) -> None:
        record_plan(unit, user_id, UUID(int=8), "free")

    await store.transact(told)
    await inbox.receive(plan_changed(user_id, "pro", clock.now()))
    await store.transact(told)

    assert await plan_of(store.database, user_id) == "pro"
