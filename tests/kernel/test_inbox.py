"""Hearing: each message has its effects once; what fails is retried, then parked."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from contracts.envelope import Envelope
from contracts.keys import UserRegistered
from kernel.clock import new_id
from kernel.errors import Deferred, NotFound, Rejected, Unavailable
from kernel.event_store import EventStore
from kernel.inbox import (
    CRASHED,
    LAST_TRY_AFTER,
    RETRIES_AFTER_S,
    Inbox,
    Subscription,
    ensure_partitions,
)
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.kernel.totals import (
    ADDING,
    SCHEMA,
    TOTAL,
    Add,
    Total,
    eventually,
    registration,
    release,
    running,
)


class Handler:
    """Adds one to the account's total, after it has raised each of `faults`."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.calls = 0

    async def __call__(self, event: UserRegistered, unit: Unit) -> None:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        await unit.decide(ADDING, f"total-{event.account_id}", Add(1))


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
async def store(database: Database, clock: FakeClock) -> EventStore:
    async with database.connection() as connection:
        await ensure_partitions(connection, SCHEMA, clock.now())
    return EventStore(database, SCHEMA, [TOTAL], clock=clock)


def hearing(store: EventStore, handler: Handler, *tries_after_s: float) -> Inbox:
    heard = Subscription(UserRegistered, handler, lambda event: str(event.account_id))
    return Inbox("credits", store, [heard], tries_after_s=tries_after_s)


@pytest.fixture
def inbox(store: EventStore, handler: Handler) -> Inbox:
    return hearing(store, handler)


async def total(store: EventStore, message: Envelope) -> int:
    state: Total
    state, _ = await store.read(TOTAL, f"total-{message.data['account_id']}")
    return state.amount


async def row_of(store: EventStore, message: Envelope) -> asyncpg.Record | None:
    async with store.database.connection() as connection:
        return await connection.fetchrow(
            f"SELECT * FROM {SCHEMA}.inbox WHERE message_id = $1", message.id
        )


async def state_of(store: EventStore, message: Envelope) -> str | None:
    row = await row_of(store, message)
    return None if row is None else str(row["state"])


async def test_a_repeated_message_has_its_effects_once(inbox: Inbox, store: EventStore) -> None:
    message = registration()
    await inbox.receive(message)
    await inbox.receive(message)
    assert await total(store, message) == 1
    assert await state_of(store, message) == "done"


async def test_the_same_message_many_times_at_once_has_its_effects_once(
    inbox: Inbox, store: EventStore
) -> None:
    message = registration()
    await asyncio.gather(*(inbox.receive(message) for _ in range(8)))
    assert await total(store, message) == 1


async def test_the_events_of_a_message_say_what_caused_them(
    inbox: Inbox, store: EventStore
) -> None:
    message = registration()
    await inbox.receive(message)
    async with store.database.connection() as connection:
        metadata = await connection.fetchval(f"SELECT metadata FROM {SCHEMA}.events")
    assert metadata["causation_id"] == str(message.id)
    assert metadata["correlation_id"] == message.correlationid


async def test_a_message_that_comes_too_early_is_heard_again_when_it_is_due(
    inbox: Inbox, store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    message = registration()
    handler.faults = [Deferred("no account yet")]
    await inbox.receive(message)
    assert await state_of(store, message) == "retry"
    assert await inbox.retry_due() == 0
    clock.turn(timedelta(seconds=10))
    assert await inbox.retry_due() == 1
    assert await total(store, message) == 1
    assert await state_of(store, message) == "done"


async def test_follows_the_schedule_and_then_parks(
    inbox: Inbox, store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    assert RETRIES_AFTER_S == (10, 60, 600, 3_600)
    message = registration()
    handler.faults = [Unavailable("busy", "Busy.") for _ in range(5)]
    await inbox.receive(message)
    for delay_s in RETRIES_AFTER_S:
        clock.turn(timedelta(seconds=delay_s - 1))
        assert await inbox.retry_due() == 0
        clock.turn(timedelta(seconds=1))
        assert await state_of(store, message) == "retry"
        assert await inbox.retry_due() == 1
    (letter,) = await inbox.parked()
    assert (letter["message_id"], letter["attempts"]) == (message.id, 5)
    clock.turn(timedelta(days=1))
    assert await inbox.retry_due() == 0


async def test_a_refused_message_is_parked_at_once(
    inbox: Inbox, store: EventStore, handler: Handler
) -> None:
    message = registration()
    handler.faults = [Rejected("too_late", "Too late.")]
    await inbox.receive(message)
    (letter,) = await inbox.parked()
    assert (letter["message_id"], letter["error"]) == (message.id, "Rejected: Too late.")
    assert letter["envelope"] == message.model_dump(mode="json")


async def test_a_malformed_message_is_parked_at_once_without_its_contents(
    inbox: Inbox, handler: Handler
) -> None:
    message = registration()
    broken = message.model_copy(update={"data": dict(message.data) | {"plan": ["a secret plan"]}})
    await inbox.receive(broken)
    (letter,) = await inbox.parked()
    assert letter["message_id"] == message.id
    assert "plan" in letter["error"]
    assert "a secret plan" not in letter["error"]
    assert handler.calls == 0


async def test_a_message_that_nobody_here_hears_is_parked_at_once(inbox: Inbox) -> None:
    message = release()
    await inbox.receive(message)
    assert [letter["message_id"] for letter in await inbox.parked()] == [message.id]


async def test_a_message_that_came_back_too_often_gets_one_last_try(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    message = registration()
    await inbox.keep_crashed(message)
    assert (await total(store, message), await state_of(store, message)) == (0, "retry")
    clock.turn(LAST_TRY_AFTER)
    await inbox.retry_due()
    assert (await total(store, message), await state_of(store, message)) == (1, "done")


async def test_a_message_that_its_last_try_dies_of_is_parked(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    message = registration()
    await inbox.keep_crashed(message)
    async with store.database.connection() as connection:  # as if claimed by one who died of it
        await connection.execute(
            f"UPDATE {SCHEMA}.inbox SET attempts = attempts + 1, due_at = $1", clock.now()
        )
    await inbox.retry_due()
    (letter,) = await inbox.parked()
    assert (letter["message_id"], letter["error"]) == (message.id, CRASHED)
    assert await total(store, message) == 0


async def test_a_message_that_is_done_is_not_kept_again(inbox: Inbox, store: EventStore) -> None:
    message = registration()
    await inbox.receive(message)
    await inbox.keep_crashed(message)
    assert await state_of(store, message) == "done"


async def test_a_row_that_nobody_can_read_is_parked_and_the_next_is_tried(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    unreadable, message = registration(), registration()
    for one in (unreadable, message):
        await inbox.keep_crashed(one)
    async with store.database.connection() as connection:
        await connection.execute(
            f"UPDATE {SCHEMA}.inbox SET envelope = '{{}}' WHERE message_id = $1", unreadable.id
        )
    clock.turn(LAST_TRY_AFTER)
    await inbox.retry_due()
    assert await state_of(store, unreadable) == "parked"
    assert await state_of(store, message) == "done"


async def test_a_parked_message_is_replayed_with_its_retries_counted_anew(
    inbox: Inbox, store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    message = registration()
    handler.faults = [Rejected("too_late", "Too late."), Deferred("not yet")]
    await inbox.receive(message)
    await inbox.replay(message.id)
    assert await inbox.retry_due() == 1
    assert await state_of(store, message) == "retry"
    clock.turn(timedelta(seconds=10))
    assert await inbox.retry_due() == 1
    assert await total(store, message) == 1
    assert await inbox.parked() == []


async def test_replays_nothing_that_is_not_parked(inbox: Inbox) -> None:
    message = registration()
    await inbox.receive(message)
    for identity in (message.id, new_id()):
        with pytest.raises(NotFound):
            await inbox.replay(identity)


async def test_raises_and_records_nothing_when_the_database_is_away(
    inbox: Inbox, store: EventStore, handler: Handler
) -> None:
    message = registration()
    handler.faults = [ConnectionRefusedError("no server")]
    with pytest.raises(ConnectionRefusedError):
        await inbox.receive(message)
    assert await row_of(store, message) is None


async def test_a_value_that_the_driver_refuses_is_not_taken_for_an_absent_database(
    store: EventStore,
) -> None:
    async def handle(_: UserRegistered, unit: Unit) -> None:
        await unit.connection.fetchval("SELECT $1::integer", 2**40)

    heard = Subscription(UserRegistered, handle, lambda event: str(event.account_id))
    message = registration()
    await Inbox("credits", store, [heard], tries_after_s=()).receive(message)
    assert await state_of(store, message) == "retry"


async def test_words_that_the_database_can_not_hold_keep_no_message_from_being_kept(
    inbox: Inbox, store: EventStore, handler: Handler
) -> None:
    message = registration()
    handler.faults = [RuntimeError("broken\0words")]
    await inbox.receive(message)
    row = await row_of(store, message)
    assert row is not None
    assert row["error"] == "RuntimeError: brokenwords"


async def test_a_message_older_than_the_inbox_is_not_handled(
    inbox: Inbox, store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    message = registration()
    clock.turn(timedelta(days=31))
    await inbox.receive(message)
    assert handler.calls == 0
    assert await row_of(store, message) is None


async def partitions(store: EventStore) -> set[str]:
    async with store.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = $1::regclass",
            f"{SCHEMA}.inbox",
        )
    return {row["name"] for row in rows}


async def test_makes_the_coming_partitions_and_drops_the_old_ones(
    inbox: Inbox, store: EventStore, clock: FakeClock
) -> None:
    before = await partitions(store)
    await inbox.receive(registration())
    await inbox.maintain()
    assert await partitions(store) == before
    clock.turn(timedelta(days=70))
    await inbox.maintain()
    after = await partitions(store)
    assert len(after) == len(before)
    assert after.isdisjoint(before)


async def test_a_dead_letter_survives_as_long_as_its_partition(
    inbox: Inbox, handler: Handler, clock: FakeClock
) -> None:
    handler.faults = [Rejected("no", "No.")]
    await inbox.receive(registration())
    clock.turn(timedelta(days=29))
    await inbox.maintain()
    assert len(await inbox.parked()) == 1


async def test_messages_for_one_stream_are_handled_one_by_one(store: EventStore) -> None:
    inside, most = 0, 0

    async def handle(_: UserRegistered, unit: Unit) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await unit.connection.fetchval("SELECT 1")
        inside -= 1

    heard = Subscription(UserRegistered, handle, lambda event: str(event.account_id))
    inbox = Inbox("credits", store, [heard], tries_after_s=())
    account_id = new_id()
    await asyncio.gather(*(inbox.receive(registration(account_id)) for _ in range(8)))
    assert most == 1


async def test_messages_handled_together_read_their_heads_together(store: EventStore) -> None:
    seen: list[int] = []

    async def handle(event: UserRegistered, unit: Unit) -> None:
        seen.append(len(unit.heads))
        await unit.decide(ADDING, f"total-{event.account_id}", Add(1))

    heard = Subscription(
        UserRegistered, handle, lambda _: "one", lambda e: {f"total-{e.account_id}": TOTAL}
    )
    inbox = Inbox("credits", store, [heard], tries_after_s=())
    await asyncio.gather(*(inbox.receive(registration(new_id())) for _ in range(4)))
    assert seen == [1, 3, 3, 3]


async def test_messages_for_different_streams_are_handled_at_once(store: EventStore) -> None:
    both_inside = asyncio.Barrier(2)

    async def handle(_: UserRegistered, __: Unit) -> None:
        await both_inside.wait()

    heard = Subscription(UserRegistered, handle, lambda event: str(event.account_id))
    inbox = Inbox("credits", store, [heard], tries_after_s=())
    messages = [registration(new_id()) for _ in range(2)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(inbox.receive(message) for message in messages))


async def test_a_late_failure_never_overwrites_a_message_that_is_done(
    inbox: Inbox, store: EventStore
) -> None:
    message = registration()
    await inbox.receive(message)
    await inbox._keep(message, RuntimeError("late"))
    await inbox._put_off(message, RuntimeError("late"), attempts=1)
    assert await state_of(store, message) == "done"


async def test_a_repeat_that_fails_does_not_begin_the_schedule_anew(
    inbox: Inbox, store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    message = registration()
    handler.faults = [Deferred("not yet")] * 3
    await inbox.receive(message)
    clock.turn(timedelta(seconds=10))
    await inbox.retry_due()
    before = await row_of(store, message)
    await inbox.receive(message)
    after = await row_of(store, message)
    assert before is not None
    assert after is not None
    assert handler.calls == 3
    assert (after["attempts"], after["due_at"]) == (2, before["due_at"])


async def test_a_repeat_that_fails_does_not_take_a_parked_message_back(
    inbox: Inbox, store: EventStore, handler: Handler
) -> None:
    message = registration()
    handler.faults = [Rejected("no", "No."), Deferred("not yet")]
    await inbox.receive(message)
    await inbox.receive(message)
    assert await state_of(store, message) == "parked"


async def test_a_message_that_failed_is_tried_again_soon_and_nobody_waits_for_it(
    store: EventStore, handler: Handler
) -> None:
    message = registration()
    handler.faults = [Deferred("not yet"), Deferred("not yet")]
    inbox = hearing(store, handler, 0.01, 0.01)
    await inbox.receive(message)
    assert handler.calls == 1
    await eventually(lambda: not inbox._trying_soon)
    assert handler.calls == 3
    assert await state_of(store, message) == "done"


async def test_a_refusal_while_trying_soon_parks(store: EventStore, handler: Handler) -> None:
    message = registration()
    handler.faults = [Deferred("not yet"), Rejected("no", "No.")]
    inbox = hearing(store, handler, 0.01)
    await inbox.receive(message)
    await eventually(lambda: not inbox._trying_soon)
    assert await state_of(store, message) == "parked"


async def test_a_database_that_goes_away_meanwhile_leaves_the_message_to_its_schedule(
    store: EventStore, handler: Handler
) -> None:
    message = registration()
    handler.faults = [Deferred("not yet"), ConnectionResetError("gone")]
    inbox = hearing(store, handler, 0.01)
    await inbox.receive(message)
    await eventually(lambda: not inbox._trying_soon)
    assert await state_of(store, message) == "retry"


async def test_ends_what_it_would_try_soon_when_it_ends(
    store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    due = await one_that_is_due(store, handler, clock)
    inbox = hearing(store, handler, 3_600.0)
    async with running(inbox.run):
        await eventually(lambda: is_done(store, due))
        handler.faults = [Deferred("not yet")]
        await inbox.receive(registration())
        assert len(inbox._trying_soon) == 1
    assert not inbox._trying_soon


async def test_retries_what_is_due_while_it_runs(
    inbox: Inbox, store: EventStore, handler: Handler, clock: FakeClock
) -> None:
    due = await one_that_is_due(store, handler, clock)
    async with running(inbox.run):
        await eventually(lambda: is_done(store, due))


async def one_that_is_due(store: EventStore, handler: Handler, clock: FakeClock) -> Envelope:
    message = registration()
    handler.faults = [Deferred("not yet")]
    await hearing(store, handler).receive(message)
    clock.turn(timedelta(seconds=10))
    return message


async def is_done(store: EventStore, message: Envelope) -> bool:
    return await state_of(store, message) == "done"
