"""Two replicas of generation, asked each on its own: what one of them hears, both tell."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import httpx
import psutil
import pytest

from kernel.clock import SystemClock
from kernel.encryption import Encryption
from kernel.http import Identity, InternalTokens
from kernel.http.access_tokens import AccessTokens
from kernel.http.identity import HEADER
from kernel.http.token_keys import TokenKeys
from tests.system.conftest import prepared
from tests.system.product import V2, Product, User, new_user, running

NEVER_S: Final = 60
"""How long a replica would wait for what it does not hear; a client here gives up much earlier."""
PATIENCE_S: Final = 30
TASKS: Final = 10


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    with prepared("separate") as product:
        product.settings = {**product.settings, "SMARTSPEC_RESERVE_TIMEOUT_S": str(NEVER_S)}
        with running(product):
            yield product


@pytest.fixture
def user(product: Product) -> Iterator[User]:
    with new_user(product) as user:
        yield user


@pytest.fixture
def replicas(product: Product) -> list[str]:
    """Their addresses."""
    children = psutil.Process(product.process.pid).children()
    found = [
        f"http://127.0.0.1:{child.environ()['PORT']}"
        for child in children
        if child.cmdline()[-2:] == ["-m", "services.generation"]
    ]
    assert len(found) == 2
    return found


def internal_token(product: Product, user: User) -> str:
    """What the gateway would say of the user."""
    secrets = json.loads((product.home / "secrets.json").read_text())
    clock = SystemClock()
    claims = AccessTokens(
        TokenKeys.shared(secrets["jwt_secret"], "HS256"), timedelta(1), clock
    ).read(user.token)
    scopes = frozenset({"generation:create", "generation:read"})
    who = Identity(claims.user_id, claims.account_id, "user", "free", scopes, UUID(int=1))
    secret = Encryption(secrets["master_keys"]).derived_secret("internal")
    return InternalTokens(secret, clock).mint(who)


async def test_the_answer_of_the_ledger_reaches_a_request_on_either_replica(
    product: Product, user: User, replicas: list[str]
) -> None:
    headers = {HEADER: internal_token(product, user)}
    body = {"model_id": "flux-2", "prompt": "[[sim:canned]] anywhere"}
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"{replica}{V2}/generate", json=body)
                for replica in replicas
                for _ in range(TASKS)
            )
        )
    assert [answer.status_code for answer in answers] == [201] * 2 * TASKS


async def test_the_end_of_a_task_reaches_who_waits_on_either_replica(
    product: Product, user: User, replicas: list[str]
) -> None:
    headers = {HEADER: internal_token(product, user)}
    tasks = [user.generate("[[sim:latency seconds=2]] soon")["id"] for _ in range(TASKS)]
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
        answers = await asyncio.gather(
            *(
                client.get(f"{replica}{V2}/tasks/{task}/wait?timeout={NEVER_S}")
                for replica in replicas
                for task in tasks
            )
        )
    statuses = [answer.json()["task"]["status"] for answer in answers]
    assert statuses == ["completed"] * 2 * TASKS
