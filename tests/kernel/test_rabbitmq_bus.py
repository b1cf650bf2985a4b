import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from contracts.credits import CreditsReleased
from contracts.envelope import Envelope
from contracts.generation import TaskChanged
from contracts.keys import UserRegistered
from kernel.bus import Bus, RabbitMQBus, Unroutable
from kernel.bus.amqp import PERSISTENT, body_of, properties_of
from kernel.bus.link import Link
from kernel.bus.topology import DELIVERY_LIMIT, Topology
from kernel.testing import envelope_of
from tests.kernel.suites import BusSuite, Recorder, never
from tests.kernel.totals import OWNER, eventually, registration, release

Make = Callable[[], RabbitMQBus]


@pytest.fixture
async def make(rabbitmq_url: str, queue_prefix: str) -> AsyncIterator[Make]:
    """Buses of one system: processes of their own, but for the process."""
    made: list[RabbitMQBus] = []

    def one() -> RabbitMQBus:
        bus = RabbitMQBus(rabbitmq_url, prefix=queue_prefix)
        made.append(bus)
        return bus

    yield one
    for bus in made:
        await bus.stop()


@pytest.fixture
async def broker(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    """A channel beside the bus."""
    connection = await aio_pika.connect(rabbitmq_url)
    async with connection:
        yield await connection.channel()


class TestRabbitMQBus(BusSuite):
    @pytest.fixture
    def bus(self, make: Make) -> RabbitMQBus:
        return make()

    @pytest.fixture(autouse=True)
    def _others(self, make: Make) -> None:
        self.make = make

    async def join(self, bus: Bus, consumer: Recorder, name: str = "credits") -> None:
        late = self.make()
        late.subscribe(name, consumer, never)
        await late.start()


async def started(make: Make, receive: Callable[[Envelope], Awaitable[None]]) -> RabbitMQBus:
    bus = make()
    bus.subscribe("credits", receive, never)
    await bus.start()
    return bus


async def ready_in(broker: AbstractChannel, queue: str) -> int:
    found = await broker.declare_queue(queue, passive=True)
    return int(found.declaration_result.message_count or 0)


async def test_an_envelope_arrives_as_it_was_sent(make: Make) -> None:
    consumer = Recorder()
    bus = await started(make, consumer)
    message = registration().model_copy(
        update={
            "causationid": "0190a000-0000-7000-8000-000000000000",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
    )
    await bus.publish(message)
    await eventually(lambda: consumer.got == [message])


async def test_a_message_for_a_queue_that_is_gone_stays_with_its_publisher(
    make: Make, broker: AbstractChannel, queue_prefix: str
) -> None:
    bus = make()
    await bus.start()
    await broker.queue_delete(Topology(queue_prefix).inbox("credits"))
    with pytest.raises(Unroutable):
        await bus.publish(registration())


async def test_two_of_many_that_are_returned_are_both_refused(
    make: Make, broker: AbstractChannel, queue_prefix: str
) -> None:
    bus = make()
    await bus.start()
    await broker.queue_delete(Topology(queue_prefix).inbox("credits"))
    answers = await asyncio.gather(
        *(bus.publish(message) for message in [registration() for _ in range(20)]),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Unroutable] * 20


async def test_one_of_two_replicas_gets_each_message_and_both_hear_broadcasts(make: Make) -> None:
    consumers, listeners = (Recorder(), Recorder()), (Recorder(), Recorder())
    for consumer, listener in zip(consumers, listeners, strict=True):
        bus = make()
        bus.subscribe("credits", consumer, never)
        bus.listen(TaskChanged, listener)
        await bus.start()
    messages = [registration() for _ in range(10)]
    for message in messages:
        await bus.publish(message)
    changed = envelope_of(TaskChanged(task_id=OWNER, version=1))
    await bus.broadcast(changed)
    await eventually(lambda: len(consumers[0].got) + len(consumers[1].got) == 10)
    await eventually(lambda: [listener.got for listener in listeners] == [[changed], [changed]])
    got = [message.id for consumer in consumers for message in consumer.got]
    assert sorted(got) == sorted(message.id for message in messages)


async def test_a_process_hears_its_own_broadcast_once(make: Make) -> None:
    listener, other = Recorder(), Recorder()
    bus, second = make(), make()
    for one, heard in ((bus, listener), (second, other)):
        one.listen(CreditsReleased, heard)
        await one.start()
    for message in (first := release(), release()):
        await bus.broadcast(message)
    await eventually(lambda: len(other.got) == 2)
    assert [message.id for message in listener.got] == [message.id for message in other.got]
    assert listener.got[0] == first


async def test_a_message_is_acknowledged_only_when_it_is_recorded(
    make: Make, broker: AbstractChannel, queue_prefix: str
) -> None:
    begun = asyncio.Event()

    async def receive(_: Envelope) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    first = await started(make, receive)
    message = registration()
    await first.publish(message)
    await begun.wait()
    heir = Recorder()
    await started(make, heir)
    first._stop_timeout_s = 0.01
    await first.stop()
    await eventually(lambda: heir.got == [message])
    await eventually(lambda: _is_empty(broker, Topology(queue_prefix).inbox("credits")))


async def _is_empty(broker: AbstractChannel, queue: str) -> bool:
    return await ready_in(broker, queue) == 0


async def test_a_lost_connection_is_made_anew_and_says_that_something_was_missed(
    make: Make,
) -> None:
    consumer, missed = Recorder(), []
    bus = make()
    bus.subscribe("credits", consumer, never)
    bus.listen(TaskChanged, Recorder(), lambda: missed.append(1))
    await bus.start()
    assert (len(missed), bus.away_s()) == (1, 0.0)
    assert bus._link is not None
    await bus._link._speaking.close()
    message = registration()
    await bus.publish(message)
    await eventually(lambda: consumer.got == [message])
    assert len(missed) == 2


async def test_a_consumer_whose_queue_is_deleted_declares_it_again(
    make: Make, broker: AbstractChannel, queue_prefix: str
) -> None:
    consumer = Recorder()
    bus = await started(make, consumer)
    link = bus._link
    await broker.queue_delete(Topology(queue_prefix).inbox("credits"))
    await eventually(lambda: bus._link not in (None, link))
    message = registration()
    await bus.publish(message)
    await eventually(lambda: consumer.got == [message])


async def test_starts_without_a_broker_and_refuses_nobody_when_it_comes(make: Make) -> None:
    bus = make()
    url, bus._url = bus._url, "amqp://guest:guest@127.0.0.1:1/"
    starting = asyncio.ensure_future(bus.start())
    publishing = asyncio.ensure_future(bus.publish(release()))
    await eventually(lambda: bus.away_s() > 0.2)
    assert not publishing.done()
    bus._url = url
    await publishing
    await starting
    assert bus.away_s() == 0.0


async def test_while_nothing_can_be_recorded_nothing_is_rejected(make: Make) -> None:
    faults = [ConnectionError("the database is away") for _ in range(3)]
    consumer = Recorder(*faults)
    bus = await started(make, consumer)
    message = registration()
    await bus.publish(message)
    await eventually(lambda: consumer.got == [message])


@pytest.mark.parametrize(
    "change",
    [
        {"message_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479"},
        {"message_id": "ffffffff-58cc-7372-a567-0e02b2c3d479"},
        {"type": "User\0Registered"},
        {"body": b'{"a": "x\\u0000y"}'},
    ],
)
async def test_a_message_that_no_table_could_keep_is_received_as_unreadable(
    make: Make, broker: AbstractChannel, queue_prefix: str, change: dict[str, Any]
) -> None:
    consumer = Recorder()
    await started(make, consumer)
    exchange = await broker.get_exchange(Topology(queue_prefix).exchange("keys"))
    message = registration()
    properties = properties_of(message, delivery_mode=PERSISTENT)
    sent: dict[str, Any] = {
        "body": body_of(message),
        "headers": properties.headers,
        "correlation_id": message.correlationid,
        "message_id": str(message.id),
        "type": message.type,
    }
    await exchange.publish(aio_pika.Message(**sent | change), UserRegistered.routing_key())
    await eventually(lambda: [one.type for one in consumer.got] == ["Unreadable"])
    assert "\0" not in str(consumer.got[0].data)


async def test_a_message_that_nobody_can_read_is_received_as_such(
    make: Make, broker: AbstractChannel, queue_prefix: str
) -> None:
    consumer = Recorder()
    await started(make, consumer)
    exchange = await broker.get_exchange(Topology(queue_prefix).exchange("keys"))
    await exchange.publish(aio_pika.Message(b"\xff no JSON"), UserRegistered.routing_key())
    await eventually(lambda: len(consumer.got) == 1)
    assert consumer.got[0].type == "Unreadable"
    assert base64.b64decode(consumer.got[0].data["body_base64"]) == b"\xff no JSON"


async def test_what_its_consumers_die_of_is_parked_and_the_next_is_handled(
    make: Make, rabbitmq_url: str, queue_prefix: str, broker: AbstractChannel
) -> None:
    poison, parked, consumer = registration(), Recorder(), Recorder()
    publisher = make()
    await publisher.start()
    await publisher.publish(poison)
    for _ in range(DELIVERY_LIMIT + 1):
        await _take_and_die(rabbitmq_url, Topology(queue_prefix).inbox("credits"))
    bus = make()
    bus.subscribe("credits", consumer, parked)
    await bus.start()
    message = registration()
    await bus.publish(message)
    await eventually(lambda: parked.got == [poison])
    await eventually(lambda: consumer.got == [message])


async def _take_and_die(url: str, queue: str) -> None:
    """As a consumer that is killed with a message in its hands."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    taken = await (await channel.get_queue(queue, ensure=False)).get(timeout=10, fail=False)
    assert taken is not None
    await connection.close()


@pytest.mark.parametrize("fault", [RuntimeError("closed"), asyncio.CancelledError()])
async def test_whatever_a_dying_connection_raises_the_next_one_is_made(
    make: Make, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    faults, consume = [fault], Link.consume

    async def dying(self: Link, *arguments: Any) -> None:
        if faults:
            raise faults.pop()
        await consume(self, *arguments)

    monkeypatch.setattr(Link, "consume", dying)
    consumer, message = Recorder(), registration()
    bus = await started(make, consumer)
    await bus.publish(message)
    await eventually(lambda: consumer.got == [message])
    assert faults == []


async def test_a_broadcast_that_nobody_will_ever_write_is_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, bus = Recorder(), make()
    bus.listen(CreditsReleased, listener)
    await bus.start()
    assert bus._link is not None

    async def hang(*_: object, **__: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(bus._link.broadcasting, "basic_publish", hang)
    monkeypatch.setattr("kernel.bus.link.LOSSY_TIMEOUT_S", 0.01)
    message = release()
    await bus.broadcast(message)
    assert listener.got == [message]


async def test_a_listener_that_fails_to_forget_keeps_nobody_from_hearing(make: Make) -> None:
    def fail() -> None:
        raise RuntimeError("forgetful")

    consumer, bus, message = Recorder(), make(), registration()
    bus.subscribe("credits", consumer, never)
    bus.listen(TaskChanged, Recorder(), fail)
    await bus.start()
    await bus.publish(message)
    await eventually(lambda: consumer.got == [message])
