"""Three gateways under load, and a credential that is ended through one of them."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest

from kernel.local_rabbitmq import LocalRabbitMQ
from kernel.runtime import quiet_port
from tests.rabbitmq import started
from tests.system.conftest import servers
from tests.system.containers import Containers
from tests.system.product import V2, User, new_key, new_user

GATEWAYS: Final = ("gateway", "gateway-2", "gateway-3")
RUNNING: Final = ("keys", "credits", *GATEWAYS)
SCOPES: Final = ("credits:read", "keys:read")
HEARD_WITHIN_S: Final = 1.0
UNHEARD_MAX_S: Final = 30.0
MORE_S: Final = 1.0
"""For how long after the bound the load goes on."""
LOADS: Final = 2
"""At each gateway."""


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalRabbitMQ]:
    with tempfile.TemporaryDirectory(prefix="smartspec-revocation-") as folder:
        Path(folder).chmod(0o711)  # the server runs as another user when we are root
        server = LocalRabbitMQ(Path(folder) / "rabbitmq", choose_port=quiet_port)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def containers(broker: LocalRabbitMQ) -> Iterator[Containers]:
    with (
        servers() as settings,
        tempfile.TemporaryDirectory(prefix="smartspec-revocation-") as folder,
        Containers(
            Path(folder), {**settings, "RABBITMQ_URL": started(broker)}, GATEWAYS[1:]
        ) as containers,
    ):
        for name in RUNNING:
            containers.start(name)
        containers.wait_ready(*RUNNING)
        yield containers


@pytest.fixture
def user(containers: Containers) -> Iterator[User]:
    with new_user(containers.product) as user:
        yield user


@dataclass
class Load:
    """What one gateway answered, and when it was asked."""

    answers: list[tuple[float, int]] = field(default_factory=list)

    def began_s(self, status: int) -> list[float]:
        return [began_s for began_s, answered in self.answers if answered == status]


@asynccontextmanager
async def load(containers: Containers, credential: str) -> AsyncIterator[dict[str, Load]]:
    """Requests without a pause at each gateway; it begins when each has answered well."""
    loads = {name: Load() for name in GATEWAYS}

    async def ask(name: str) -> None:
        headers = {"Authorization": f"Bearer {credential}"}
        url = containers.url_of(name)
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=30, trust_env=False
        ) as client:
            while True:
                began_s = time.monotonic()
                answer = await client.get(f"{V2}/credits")
                loads[name].answers.append((began_s, answer.status_code))

    async with asyncio.TaskGroup() as asking:
        tasks = [asking.create_task(ask(name)) for name in GATEWAYS for _ in range(LOADS)]
        await until(lambda: all(len(load.began_s(200)) >= 5 for load in loads.values()))
        yield loads
        for task in tasks:
            task.cancel()


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - other tasks make it true
            await asyncio.sleep(0.01)


async def ended(containers: Containers, token: str, path: str) -> float:
    """Through the first gateway; when it was answered."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        answer = await client.post(f"{containers.url_of(GATEWAYS[0])}{path}")
    assert answer.is_success, answer.text
    return time.monotonic()


async def refused_everywhere(
    containers: Containers, credential: str, token: str, path: str, within_s: float
) -> None:
    """No request succeeds that began more than `within_s` after the end was answered."""
    async with load(containers, credential) as loads:
        ended_s = await ended(containers, token, path)
        enough_s = ended_s + within_s + MORE_S
        await until(
            lambda: all(
                began_s and max(began_s) >= enough_s
                for began_s in (load.began_s(401) for load in loads.values())
            ),
            within_s + 30,
        )
    for name, one in loads.items():
        assert {status for _, status in one.answers} == {200, 401}, name
        assert max(one.began_s(200)) <= ended_s + within_s, name


def key_id(containers: Containers, user: User, prefix: str) -> str:
    with containers.product.client(Authorization=f"Bearer {user.token}") as client:
        keys = client.get("/api/keys").raise_for_status().json()["keys"]
    (found,) = [key["id"] for key in keys if prefix.startswith(key["prefix"].rstrip("."))]
    return str(found)


def statuses(containers: Containers, credential: str) -> list[int]:
    headers = {"Authorization": f"Bearer {credential}"}
    return [
        httpx.get(
            f"{containers.url_of(name)}{V2}/credits", headers=headers, timeout=30, trust_env=False
        ).status_code
        for name in GATEWAYS
    ]


async def test_a_revoked_key_is_refused_at_every_gateway_within_a_second(
    containers: Containers, user: User
) -> None:
    path = f"/api/keys/{key_id(containers, user, user.key)}/revoke"
    await refused_everywhere(containers, user.key, user.token, path, HEARD_WITHIN_S)


async def test_an_ended_session_is_refused_at_every_gateway_within_a_second(
    containers: Containers, user: User
) -> None:
    await refused_everywhere(containers, user.token, user.token, "/auth/logout", HEARD_WITHIN_S)
    assert statuses(containers, user.key) == [200] * len(GATEWAYS)


@pytest.mark.timeout(240)
async def test_without_the_bus_a_revoked_key_is_refused_within_half_a_minute_and_stays_dead(
    containers: Containers, broker: LocalRabbitMQ, user: User
) -> None:
    other = new_key(containers.product, user.token, SCOPES)
    path = f"/api/keys/{key_id(containers, user, user.key)}/revoke"
    broker.stop()
    await refused_everywhere(containers, user.key, user.token, path, UNHEARD_MAX_S)
    assert statuses(containers, other) == [200] * len(GATEWAYS)
    broker.start()
    for name in RUNNING:
        containers.kill(name)
        containers.start(name)
    containers.wait_ready(*RUNNING)
    assert statuses(containers, user.key) == [401] * len(GATEWAYS)
    assert statuses(containers, other) == [200] * len(GATEWAYS)
    assert "Traceback" not in containers.words()
