import asyncio

import pytest

from contracts.credits import CreditsReleased
from contracts.envelope import Envelope
from kernel.bus import MemoryBus, Unroutable
from tests.kernel.suites import BusSuite, Recorder, never
from tests.kernel.totals import eventually, registration, release


class TestMemoryBus(BusSuite):
    @pytest.fixture
    def bus(self) -> MemoryBus:
        return MemoryBus()


class Slow:
    """A consumer that ends when it may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun = 0
        self.recorded = 0

    async def __call__(self, _: Envelope) -> None:
        self.begun += 1
        await self.may_end.wait()
        self.recorded += 1


async def test_confirms_only_what_its_consumer_has_recorded() -> None:
    bus, consumer = MemoryBus(), Slow()
    bus.subscribe("credits", consumer, never)
    publishing = asyncio.ensure_future(bus.publish(registration()))
    await eventually(lambda: consumer.begun == 1)
    assert not publishing.done()
    consumer.may_end.set()
    await publishing
    assert consumer.recorded == 1


async def test_a_consumer_that_raises_makes_the_publish_fail() -> None:
    bus = MemoryBus()
    bus.subscribe("credits", Recorder(ConnectionError("away")), never)
    with pytest.raises(ConnectionError):
        await bus.publish(registration())


async def test_a_publisher_that_stops_waiting_cancels_no_consumer() -> None:
    bus, consumer = MemoryBus(), Slow()
    bus.subscribe("credits", consumer, never)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bus.publish(registration())
    consumer.may_end.set()
    await eventually(lambda: consumer.recorded == 1)


async def test_a_publisher_that_tries_again_joins_the_delivery_that_still_runs() -> None:
    bus, consumer, message = MemoryBus(), Slow(), registration()
    bus.subscribe("credits", consumer, never)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bus.publish(message)
    again = asyncio.ensure_future(bus.publish(message))
    consumer.may_end.set()
    await again
    assert consumer.begun == 1


async def test_a_late_failure_that_nobody_waits_for_disturbs_nobody() -> None:
    bus, fail = MemoryBus(), asyncio.Event()

    async def receive(_: Envelope) -> None:
        await fail.wait()
        raise ConnectionError("away")

    bus.subscribe("credits", receive, never)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bus.publish(registration())
    fail.set()
    await eventually(lambda: not bus._deliveries)


async def test_a_delivery_cut_off_by_the_end_is_not_confirmed() -> None:
    bus, consumer = MemoryBus(stop_timeout_s=0.01), Slow()
    bus.subscribe("credits", consumer, never)
    publishing = asyncio.ensure_future(bus.publish(registration()))
    await eventually(lambda: consumer.begun == 1)
    await bus.stop()
    with pytest.raises(Unroutable):
        await publishing
    assert consumer.recorded == 0


async def test_a_listener_that_hangs_stops_nobody() -> None:
    bus, hanging, listener = MemoryBus(hear_timeout_s=0.01), Slow(), Recorder()
    message = release()
    bus.listen(CreditsReleased, hanging)
    bus.listen(CreditsReleased, listener)
    await bus.publish(message)
    assert listener.got == [message]
