import json
import socket
import time

import asyncpg
import httpx
import pytest

from kernel.clock import new_id
from tests.system.conftest import BOTH_MODES
from tests.system.product import V2, Product, User, wait_until

pytestmark = BOTH_MODES

BODY = {"model_id": "nano-banana-pro", "prompt": "[[sim:canned]] nobody waits for me"}
CONTENT = json.dumps(BODY).encode()


def send(product: Product, user: User, **headers: str) -> socket.socket:
    """The request on a connection of its own; its answer is not read."""
    lines = [
        f"POST {V2}/generate HTTP/1.1",
        "Host: localhost",
        f"X-API-Key: {user.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(CONTENT)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    url = httpx.URL(product.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=10)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + CONTENT)
    return connection


def assert_charged_once(user: User) -> None:
    (task,) = user.tasks()
    assert user.wait(task["id"])["status"] == "completed"
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert user.balance()["used_credits"] == 1.0


async def test_a_client_that_leaves_while_its_reservation_is_pending_is_charged_once(
    product: Product, user: User
) -> None:
    # The ledger can't write while its heads are locked, so the reservation is pending for sure.
    ledger = await asyncpg.connect(product.dsn)
    try:
        async with ledger.transaction():
            await ledger.execute("LOCK TABLE credits.streams IN EXCLUSIVE MODE")
            connection = send(product, user)
            wait_until(lambda: [task["status"] for task in user.tasks()] == ["pending"])
            connection.close()
    finally:
        await ledger.close()
    assert_charged_once(user)


@pytest.mark.parametrize("leaves_after_s", [0.0, 0.01])
def test_a_client_that_leaves_and_asks_again_with_its_key_has_one_task(
    product: Product, user: User, leaves_after_s: float
) -> None:
    key = new_id().hex
    connection = send(product, user, Idempotency_Key=key)
    time.sleep(leaves_after_s)  # where it leaves is the point: before, in and after the commit
    connection.close()

    def taken() -> bool:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = user.client.post(f"{V2}/generate", content=CONTENT, headers=headers)
        assert answer.status_code in {201, 409}, answer.text
        return answer.status_code == 201

    wait_until(taken)
    assert_charged_once(user)
