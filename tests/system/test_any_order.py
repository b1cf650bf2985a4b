"""Services started alone, in any order, and with any one of them missing for a while."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernel.clock import new_id
from tests.system.conftest import servers
from tests.system.containers import INNER, NAMES, Containers
from tests.system.product import V2, Product, User, new_user, wait_until

SEED = 3
BODY = {"model_id": "nano-banana-pro", "prompt": "[[sim:canned]] in any order"}
CLEAN = {502, 503, 504}
"""What a request may be answered while a service is missing: never a fault."""


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """None of them is started."""
    with (
        servers() as settings,
        tempfile.TemporaryDirectory(prefix="smartspec-containers-") as folder,
        Containers(Path(folder), {**settings, "SIMULATOR_CANNED": "true"}) as containers,
    ):
        yield containers


def asked(product: Product, user: User) -> tuple[int, str]:
    """The status of a request for a task, and the key to ask for the same again."""
    key = new_id().hex
    with product.client(**{"X-API-Key": user.key}) as client:
        answer = client.post(f"{V2}/generate", json=BODY, headers={"Idempotency-Key": key})
    return answer.status_code, key


def asked_again(user: User, key: str) -> dict[str, Any]:
    """The task of that key, whatever came of the first time."""

    def answer() -> httpx.Response:
        return user.client.post(f"{V2}/generate", json=BODY, headers={"Idempotency-Key": key})

    wait_until(lambda: answer().status_code == 201, 60)
    return dict(answer().json()["task"])


def test_in_any_order_with_any_one_missing_nothing_is_lost_and_nothing_must_be_restarted(
    containers: Containers,
) -> None:
    order = random.Random(SEED).sample(NAMES, len(NAMES))  # noqa: S311 - repeatable
    for name in order:
        containers.start(name)
    containers.wait_ready(*NAMES)
    product = containers.product
    with new_user(product) as user:
        keys = []
        for missing in INNER:
            others = {n: containers.processes[n].pid for n in NAMES if n != missing}
            containers.kill(missing)
            status, key = asked(product, user)
            assert status in {201, *CLEAN}, (missing, status)
            keys.append(key)
            containers.start(missing)
            containers.wait_ready(missing)
            assert others == {n: containers.processes[n].pid for n in NAMES if n != missing}
            assert all(containers.processes[n].poll() is None for n in NAMES)
        tasks = [asked_again(user, key)["id"] for key in keys]
        assert len(set(tasks)) == len(INNER)
        assert [user.wait(task)["status"] for task in tasks] == ["completed"] * len(INNER)
        wait_until(lambda: user.balance()["reserved_credits"] == 0, 60)
        assert user.balance()["used_credits"] == len(INNER)
    assert "Traceback" not in containers.words()


def test_each_ends_by_itself_when_it_is_told(containers: Containers) -> None:
    for name in set(NAMES) - set(containers.processes):
        containers.start(name)
    containers.wait_ready(*NAMES)
    assert {name: containers.end(name) for name in NAMES} == dict.fromkeys(NAMES, 0)
