"""The monthly limit of an API key, over HTTP: what it holds back, and whom it does not."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.system.product import SCOPES, V2, Product, User, holder_of, wait_until

LIMIT = 4
MADE, HELD = "[[sim:canned]] made", "[[sim:hang]] held"
SMALL = "512x512"


@contextlib.contextmanager
def limited(product: Product, user: User) -> Iterator[User]:
    """The same user with another key, which may spend `LIMIT` credits a month."""
    asked = {"name": "Limited", "scopes": list(SCOPES), "monthly_credit_limit": LIMIT}
    with product.client(Authorization=f"Bearer {user.token}") as signed_in:
        created = signed_in.post("/api/keys", json=asked).raise_for_status().json()
    assert created["monthly_credit_limit"] == LIMIT
    with holder_of(product, user.email, user.token, created["api_key"]) as holder:
        yield holder


@pytest.fixture
def holder(product: Product, user: User) -> Iterator[User]:
    with limited(product, user) as holder:
        yield holder


def body(prompt: str) -> dict[str, object]:
    """Of a task that costs one credit."""
    return {"model_id": "nano-banana-pro", "prompt": prompt, "options": {"resolution": SMALL}}


def refusal(answer: httpx.Response) -> dict[str, float]:
    assert (answer.status_code, answer.json()["error"]) == (402, "monthly_credit_limit_reached")
    return dict(answer.json()["details"])


def test_a_key_at_its_limit_is_refused_and_the_users_other_key_is_not(
    user: User, holder: User
) -> None:
    done = [holder.generate(MADE, resolution=SMALL)["id"] for _ in range(2)]
    assert [holder.wait(task)["status"] for task in done] == ["completed"] * 2
    held = [holder.generate(HELD, resolution=SMALL)["id"] for _ in range(2)]

    told = refusal(holder.client.post(f"{V2}/generate", json=body(MADE)))
    assert told == {"limit": 4.0, "used": 4.0, "required": 1.0}
    other = user.generate(MADE, resolution=SMALL)
    assert user.wait(other["id"])["status"] == "completed"

    holder.client.delete(f"{V2}/tasks/{held[0]}").raise_for_status()
    # Until the ledger has heard of it, the answer is still no.
    asked = (holder.client.post(f"{V2}/generate", json=body(MADE)) for _ in range(10_000))
    wait_until(lambda: next(asked).status_code == 201)
    assert refusal(holder.client.post(f"{V2}/generate", json=body(MADE)))["used"] == LIMIT


async def all_at_once(product: Product, key: str, count: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(
        base_url=product.url, headers={"X-API-Key": key}, timeout=60, trust_env=False
    ) as client:
        asked = (client.post(f"{V2}/generate", json=body(MADE)) for _ in range(count))
        return await asyncio.gather(*asked)


def test_twenty_at_once_never_exceed_the_limit(product: Product, user: User, holder: User) -> None:
    answers = asyncio.run(all_at_once(product, holder.key, 20))

    assert Counter(answer.status_code for answer in answers) == {201: LIMIT, 402: 20 - LIMIT}
    for answer in answers:
        if answer.status_code == 402:
            assert refusal(answer) == {"limit": 4.0, "used": 4.0, "required": 1.0}
    created = [answer.json()["task"]["id"] for answer in answers if answer.status_code == 201]
    assert [holder.wait(task)["status"] for task in created] == ["completed"] * LIMIT
    refusal(holder.client.post(f"{V2}/generate", json=body(MADE)))
    assert user.balance()["used_credits"] + user.balance()["reserved_credits"] == LIMIT
