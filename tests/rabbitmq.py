"""The RabbitMQ of the run (`TEST_RABBITMQ_URL`, else the standard local port), and names of each
test's own on it, which are removed at its end."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import aio_pika
import pytest

from kernel.bus.topology import Topology
from kernel.clock import new_id
from kernel.local_rabbitmq import LocalRabbitMQ
from kernel.rabbitmq_node import RabbitMQUnavailable

VARIABLE: Final = "TEST_RABBITMQ"
LOCAL_URL: Final = "amqp://guest:guest@127.0.0.1:5672/"


async def answers(url: str) -> bool:
    try:
        connection = await aio_pika.connect(url, timeout=3)
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
        return False
    await connection.close()
    return True


@contextmanager
def programs() -> Iterator[None]:
    """Skips, or where services are required fails, when this machine has no RabbitMQ to start."""
    try:
        yield
    except RabbitMQUnavailable as error:
        if "RABBITMQ_URL" not in str(error) or os.environ.get("REQUIRE_SERVICES") == "1":
            raise
        pytest.skip(str(error))


def started(server: LocalRabbitMQ) -> str:
    with programs():
        return server.start()


def new_prefix() -> str:
    return f"test-{new_id().hex}."


async def remove(url: str, prefix: str) -> None:
    """Delete every durable thing that a bus of this prefix has declared."""
    topology = Topology(prefix)
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        for consumer in topology.consumers:
            for queue in (topology.inbox(consumer), topology.crashed(consumer)):
                await channel.queue_delete(queue)
        for owner in topology.owners:
            await channel.exchange_delete(topology.exchange(owner))


@pytest.fixture
def rabbitmq_url() -> str:
    url = os.environ.get(VARIABLE)
    if url is None:
        pytest.skip("no RabbitMQ on this machine")
    return url


@pytest.fixture
async def queue_prefix(rabbitmq_url: str) -> AsyncIterator[str]:
    prefix = new_prefix()
    yield prefix
    await remove(rabbitmq_url, prefix)
