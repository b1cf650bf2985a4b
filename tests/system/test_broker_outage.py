"""RabbitMQ stopped for a minute under load: requests are refused cleanly or wait, all drains."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from kernel.local_rabbitmq import LocalRabbitMQ
from kernel.runtime import quiet_port
from tests.rabbitmq import started
from tests.system.conftest import SEPARATE, servers
from tests.system.product import V2, Product, User, new_user, running, wait_until

OUTAGE_S: Final = 60.0
DRAIN_MAX_S: Final = 30.0
MEMORY_GROWTH_MAX_BYTES: Final = 64 * 2**20
"""Of any process, while nothing can be published."""
RATE_PER_S: Final = 5
BODY: Final = {"model_id": "flux-2", "prompt": "[[sim:canned]] meanwhile"}
LEFT: Final = """
    SELECT (SELECT count(*) FROM generation.outbox) + (SELECT count(*) FROM credits.outbox)
        + (SELECT count(*) FROM storage.outbox) + (SELECT count(*) FROM keys.outbox)
        + (SELECT count(*) FROM generation.streams
            WHERE state->>'stage' NOT IN ('completed', 'failed', 'cancelled')) AS count"""


@dataclass
class Answers:
    """What came of the requests: how many of each status, and the tasks that were taken."""

    statuses: Counter[int] = field(default_factory=Counter)
    tasks: list[str] = field(default_factory=list)


@pytest.fixture
def broker() -> Iterator[LocalRabbitMQ]:
    with tempfile.TemporaryDirectory(prefix="smartspec-outage-") as folder:
        Path(folder).chmod(0o711)  # the server runs as another user when we are root
        server = LocalRabbitMQ(Path(folder) / "rabbitmq", choose_port=quiet_port)
        yield server
        server.stop()


@pytest.fixture
def product(broker: LocalRabbitMQ) -> Iterator[Product]:
    with (
        servers() as settings,
        tempfile.TemporaryDirectory(prefix="smartspec-outage-") as folder,
        running(
            Product(Path(folder) / "home", {**settings, "RABBITMQ_URL": started(broker)}, SEPARATE)
        ) as product,
    ):
        yield product


@pytest.mark.timeout(300)
def test_a_minute_without_the_broker_loses_nothing_and_drains_within_half_a_minute(
    product: Product, broker: LocalRabbitMQ
) -> None:
    with new_user(product) as user:
        before = user.generate("[[sim:latency seconds=5]] in flight when it stops")["id"]
        memory = _memory_bytes(product)
        broker.stop()
        answers = asyncio.run(_ask(product, user, OUTAGE_S))
        grown = {name: size - memory[name] for name, size in _memory_bytes(product).items()}
        broker.start()
        back_s = time.monotonic()
        wait_until(lambda: product.rows(LEFT)[0]["count"] == 0, DRAIN_MAX_S)
        assert time.monotonic() - back_s <= DRAIN_MAX_S

        assert set(answers.statuses) <= {201, 503}, answers.statuses
        assert answers.statuses.total() == OUTAGE_S * RATE_PER_S
        assert max(grown.values()) <= MEMORY_GROWTH_MAX_BYTES, grown
        assert user.wait(before)["status"] == "completed"
        taken = [user.wait(task)["status"] for task in answers.tasks]
        assert taken == ["completed"] * len(taken)
        wait_until(lambda: user.balance()["reserved_credits"] == 0)
        assert user.wait(user.generate("[[sim:canned]] afterwards")["id"])["status"] == "completed"
        assert "Traceback" not in product.words()


async def _ask(product: Product, user: User, for_s: float) -> Answers:
    """A request every so often, however long the answers take."""
    answers = Answers()
    async with httpx.AsyncClient(
        base_url=product.url, headers={"X-API-Key": user.key}, timeout=30, trust_env=False
    ) as client:

        async def ask() -> None:
            answer = await client.post(f"{V2}/generate", json=BODY)
            answers.statuses[answer.status_code] += 1
            if answer.status_code == 201:
                answers.tasks.append(answer.json()["task"]["id"])
            else:
                assert answer.headers["Retry-After"], answer.text

        asking = []
        for _ in range(int(for_s * RATE_PER_S)):
            asking.append(asyncio.create_task(ask()))
            await asyncio.sleep(1 / RATE_PER_S)  # the load is a rate
        await asyncio.gather(*asking)
    return answers


def _memory_bytes(product: Product) -> dict[int, int]:
    """Resident, of each service's process by its id."""
    children = psutil.Process(product.process.pid).children()
    return {child.pid: child.memory_info().rss for child in children if _is_service(child)}


def _is_service(process: psutil.Process) -> bool:
    return process.cmdline()[1:2] == ["-m"]
