"""What every `Bus` promises: a test module subclasses the suite and gives it a `bus` fixture."""

import asyncio
from contextlib import suppress

import pytest

from contracts.credits import CreditsReleased
from contracts.envelope import Envelope
from contracts.generation import TaskChanged
from contracts.keys import UserErased, UserRegistered
from kernel.bus import Bus, Unroutable
from kernel.clock import SystemClock
from kernel.testing import envelope_of
from tests.kernel.totals import OWNER, eventually, registration, release


def erasure() -> Envelope:
    """What two services must hear."""
    event = UserErased(user_id=OWNER, account_id=OWNER, erased_at=SystemClock().now())
    assert event.consumers == ("generation", "storage")
    return envelope_of(event)


class Recorder:
    """A consumer or listener that keeps what it got, after it has raised each of `faults`."""

    def __init__(self, *faults: Exception) -> None:
        self.got: list[Envelope] = []
        self._faults = list(faults)

    async def __call__(self, envelope: Envelope) -> None:
        if self._faults:
            raise self._faults.pop(0)
        self.got.append(envelope)


async def never(envelope: Envelope) -> None:
    raise AssertionError(f"{envelope.type} has killed nobody, and is not to be parked")


class BusSuite:
    async def join(self, bus: Bus, consumer: Recorder, name: str = "credits") -> None:
        """A consumer begins to hear, when others do already."""
        bus.subscribe(name, consumer, never)

    async def test_a_consumer_that_the_contract_names_gets_the_message(self, bus: Bus) -> None:
        credits_inbox, other = Recorder(), Recorder()
        bus.subscribe("credits", credits_inbox, never)
        bus.subscribe("storage", other, never)
        await bus.start()
        message = registration()
        await bus.publish(message)
        await eventually(lambda: credits_inbox.got == [message])
        assert other.got == []

    async def test_each_of_two_consumers_gets_the_message_though_one_could_not_record_it(
        self, bus: Bus
    ) -> None:
        generation, storage = Recorder(), Recorder(ConnectionError("the database is away"))
        bus.subscribe("generation", generation, never)
        bus.subscribe("storage", storage, never)
        await bus.start()
        message = erasure()
        with suppress(ConnectionError):
            await bus.publish(message)
        if not storage.got:
            await bus.publish(message)
        await eventually(lambda: message in generation.got and message in storage.got)

    async def test_a_message_for_two_waits_for_the_one_that_comes_later(self, bus: Bus) -> None:
        storage, later, message = Recorder(), Recorder(), erasure()
        bus.subscribe("storage", storage, never)
        await bus.start()
        refused = False
        try:
            await bus.publish(message)
        except Unroutable:
            refused = True
        await self.join(bus, later, "generation")
        if refused:
            await bus.publish(message)
        await eventually(lambda: message in later.got and message in storage.got)

    async def test_a_message_that_no_contract_sends_anywhere_is_confirmed(self, bus: Bus) -> None:
        await bus.start()
        await bus.publish(release())

    async def test_a_message_waits_for_a_consumer_that_comes_later(self, bus: Bus) -> None:
        """With its publisher, or on the broker."""
        consumer, message = Recorder(), registration()
        bus.subscribe("storage", Recorder(), never)
        await bus.start()
        refused = False
        try:
            await bus.publish(message)
        except Unroutable:
            refused = True
        await self.join(bus, consumer)
        if refused:
            await bus.publish(message)
        await eventually(lambda: consumer.got == [message])

    async def test_a_message_published_again_is_delivered_again(self, bus: Bus) -> None:
        consumer = Recorder()
        bus.subscribe("credits", consumer, never)
        await bus.start()
        message = registration()
        await bus.publish(message)
        await bus.publish(message)
        await eventually(lambda: consumer.got == [message, message])

    async def test_what_could_not_be_recorded_comes_again(self, bus: Bus) -> None:
        consumer = Recorder(ConnectionError("the database is away"))
        bus.subscribe("credits", consumer, never)
        await bus.start()
        message = registration()
        with suppress(ConnectionError):
            await bus.publish(message)
        if not consumer.got:
            await bus.publish(message)
        await eventually(lambda: message in consumer.got)

    async def test_every_listener_hears_what_is_published(self, bus: Bus) -> None:
        first, second = Recorder(), Recorder()
        bus.listen(CreditsReleased, first)
        bus.listen(CreditsReleased, second)
        await bus.start()
        message = release()
        await bus.publish(message)
        await eventually(lambda: first.got == second.got == [message])

    async def test_every_listener_hears_what_is_broadcast(self, bus: Bus) -> None:
        first, second, other = Recorder(), Recorder(), Recorder()
        bus.listen(TaskChanged, first)
        bus.listen(TaskChanged, second)
        bus.listen(CreditsReleased, other)
        await bus.start()
        message = envelope_of(TaskChanged(task_id=OWNER, version=1))
        await bus.broadcast(message)
        await eventually(lambda: first.got == second.got == [message])
        assert other.got == []

    async def test_a_listener_that_fails_stops_nobody(self, bus: Bus) -> None:
        consumer, listener, failing = Recorder(), Recorder(), Recorder(RuntimeError("deaf"))
        bus.listen(UserRegistered, failing)
        bus.listen(UserRegistered, listener)
        bus.subscribe("credits", consumer, never)
        await bus.start()
        message = registration()
        await bus.publish(message)
        await eventually(lambda: listener.got == consumer.got == [message])
        assert failing.got == []

    async def test_a_name_is_subscribed_once(self, bus: Bus) -> None:
        bus.subscribe("credits", Recorder(), never)
        with pytest.raises(ValueError, match="subscribed"):
            bus.subscribe("credits", Recorder(), never)

    async def test_a_stopped_bus_takes_and_delivers_nothing_more(self, bus: Bus) -> None:
        consumer, listener = Recorder(), Recorder()
        bus.subscribe("credits", consumer, never)
        bus.listen(CreditsReleased, listener)
        await bus.start()
        await bus.stop()
        with pytest.raises(Unroutable):
            await bus.publish(registration())
        await bus.broadcast(release())
        assert (consumer.got, listener.got) == ([], [])

    async def test_stopping_finishes_what_is_being_delivered(self, bus: Bus) -> None:
        begun, may_end, recorded = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def receive(_: Envelope) -> None:
            begun.set()
            await may_end.wait()
            recorded.set()

        bus.subscribe("credits", receive, never)
        await bus.start()
        publishing = asyncio.ensure_future(bus.publish(registration()))
        await begun.wait()
        stopping = asyncio.ensure_future(bus.stop())
        may_end.set()
        await stopping
        assert recorded.is_set()
        await publishing
