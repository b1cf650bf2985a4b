"""What goes over a channel and what comes, beside a stand-in for aiormq's."""

import asyncio
import random
from typing import Any

import pamqp.frame
import pytest
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel
from pamqp.header import ContentHeader

from kernel.bus.channels import Hearing, Speaking
from kernel.bus.topology import Route
from tests.kernel.totals import registration

ROUTE = Route("keys.events", "keys.user_registered", mandatory=True)


class StubChannel:
    """Keeps what was written; `room` is how many writes its connection takes."""

    def __init__(self, room: int = 10) -> None:
        self.loop = asyncio.get_running_loop()
        self.number = 1
        self.max_content_size = 100_000
        self.is_closed = False
        self.frames: Any = asyncio.Queue()
        self.write_queue: Any = asyncio.Queue(maxsize=room)

    def written(self) -> list[list[Any]]:
        """The frames of each write."""
        writes = []
        while not self.write_queue.empty():
            data, frames = self.write_queue.get_nowait().payload, []
            while data:
                size, _, frame = pamqp.frame.unmarshal(data)
                frames.append(frame)
                data = data[size:]
            writes.append(frames)
        return writes

    async def comes(self, *frames: Any) -> None:
        for frame in frames:
            await self.frames.put((0, frame))


class Consumer:
    """Hears `count` deliveries, and acknowledges when it is told to."""

    def __init__(self, channel: StubChannel) -> None:
        self.got: list[DeliveredMessage] = []
        self._channel = channel
        self._hearing = Hearing(channel, lambda _, message: self.got.append(message))  # type: ignore[arg-type]

    async def hears(self, count: int) -> None:
        for tag in range(1, count + 1):
            await self._channel.comes(*delivery(tag, b"{}"))

    async def done_with(self, *tags: int) -> list[list[tuple[int, bool]]]:
        """Acknowledge in one turn of the loop; the acks of each write."""
        for tag in tags:
            self._hearing.acknowledge(self.got[tag - 1])
        await asyncio.sleep(0)
        writes = self._channel.written()
        return [[(ack.delivery_tag, ack.multiple) for ack in write] for write in writes]


def delivery(tag: int, *parts: bytes) -> list[Any]:
    return [
        Basic.Deliver("consumer", tag),
        ContentHeader(body_size=sum(map(len, parts))),
        *map(ContentBody, parts),
    ]


async def test_what_is_done_in_one_turn_is_acknowledged_by_one_frame() -> None:
    consumer = Consumer(StubChannel())
    await consumer.hears(4)
    assert await consumer.done_with(2, 1, 3) == [[(3, True)]]


async def test_what_is_done_before_an_earlier_one_is_acknowledged_alone() -> None:
    consumer = Consumer(StubChannel())
    await consumer.hears(4)
    assert await consumer.done_with(2, 4) == [[(2, False), (4, False)]]
    assert await consumer.done_with(1) == [[(1, True)]]
    assert await consumer.done_with(3) == [[(3, True)]]


@pytest.mark.parametrize("seed", range(20))
async def test_every_delivery_is_acknowledged_once_whatever_the_order(seed: int) -> None:
    consumer, count = Consumer(StubChannel()), 30
    await consumer.hears(count)
    order = random.Random(seed).sample(range(1, count + 1), count)  # noqa: S311 - fixed orders
    unacknowledged = set(order)
    for nth in range(0, count, 3):
        held = set(order[nth + 3 :])
        for acks in await consumer.done_with(*order[nth : nth + 3]):
            for tag, multiple in acks:
                assert tag in unacknowledged
                gone = {one for one in unacknowledged if one <= tag} if multiple else {tag}
                assert gone.isdisjoint(held)
                unacknowledged -= gone
    assert unacknowledged == set()


async def test_a_body_of_several_frames_is_put_together() -> None:
    channel = StubChannel()
    consumer = Consumer(channel)
    await channel.comes(*delivery(1, b'{"a":', b"1", b"}"), *delivery(2))
    assert [message.body for message in consumer.got] == [b'{"a":1}', b""]


async def test_what_is_no_message_is_left_to_aiormq() -> None:
    channel = StubChannel()
    rest = channel.frames
    Consumer(channel)
    close = Channel.Close(404, "gone", 0, 0)
    await channel.comes(close)
    assert rest.get_nowait() == (0, close)


class Speaker:
    """Publishes at once, and says what came of each."""

    def __init__(self, channel: StubChannel) -> None:
        self.speaking = Speaking(channel)  # type: ignore[arg-type]
        self._channel = channel

    async def begins(self, count: int) -> list[asyncio.Task[None]]:
        tasks = [
            asyncio.create_task(self.speaking.publish(registration(), ROUTE)) for _ in range(count)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks


async def test_publishes_of_one_turn_are_one_write() -> None:
    channel = StubChannel()
    tasks = await Speaker(channel).begins(3)
    (write,) = channel.written()
    assert sum(isinstance(frame, Basic.Publish) for frame in write) == 3
    await channel.comes(Basic.Ack(3, multiple=True))
    await asyncio.gather(*tasks)


async def test_a_confirm_for_many_answers_those_up_to_it() -> None:
    channel = StubChannel()
    first, second, third = await Speaker(channel).begins(3)
    await channel.comes(Basic.Ack(2, multiple=True))
    await asyncio.gather(first, second)
    assert not third.done()
    await channel.comes(Basic.Ack(3, multiple=False))
    await third


async def test_what_the_broker_would_not_have_is_not_confirmed() -> None:
    channel = StubChannel()
    (publishing,) = await Speaker(channel).begins(1)
    await channel.comes(Basic.Nack(1, multiple=False))
    with pytest.raises(DeliveryError):
        await publishing


async def test_of_two_publishes_the_one_that_comes_back_is_refused() -> None:
    channel = StubChannel()
    speaker = Speaker(channel)
    message = registration()
    refused = asyncio.create_task(speaker.speaking.publish(message, ROUTE))
    (confirmed,) = await speaker.begins(1)
    header = ContentHeader(properties=Basic.Properties(message_id=str(message.id)))
    await channel.comes(Basic.Return(312, "NO_ROUTE", "", ""), header, Basic.Ack(2, multiple=True))
    with pytest.raises(PublishError):
        await refused
    await confirmed


async def test_who_waits_for_a_confirm_is_told_when_the_channel_is_lost() -> None:
    speaker = Speaker(StubChannel())
    (publishing,) = await speaker.begins(1)
    speaker.speaking.lose()
    with pytest.raises(ConnectionError):
        await publishing
    with pytest.raises(ConnectionError):
        await speaker.speaking.publish(registration(), ROUTE)


async def test_a_confirm_that_nobody_waits_for_any_more_harms_nobody() -> None:
    channel = StubChannel()
    given_up, waiting = await Speaker(channel).begins(2)
    given_up.cancel()
    await channel.comes(Basic.Ack(2, multiple=True))
    await waiting
    assert given_up.cancelled() or given_up.cancelling()


async def test_a_connection_that_takes_no_more_is_waited_for() -> None:
    channel = StubChannel(room=1)
    speaker = Speaker(channel)
    await speaker.begins(1)
    tasks = await speaker.begins(1)
    assert len(channel.written()) == 1
    async with asyncio.timeout(10):
        await channel.write_queue.get()
    await channel.comes(Basic.Ack(2, multiple=True))
    await asyncio.gather(*tasks)
