import asyncio
from collections import Counter

import httpx

from tests.system.conftest import BOTH_MODES
from tests.system.product import V2, Product, User, wait_until

REQUESTS = 200
CREDITS = 20
BODY = {
    "model_id": "nano-banana-pro",
    "prompt": "[[sim:canned]] a race",
    "options": {"resolution": "512x512"},
}


async def all_at_once(product: Product, key: str) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(
        base_url=product.url,
        headers={"X-API-Key": key},
        limits=limits,
        timeout=60,
        trust_env=False,
    ) as client:
        asked = (client.post(f"{V2}/generate", json=BODY) for _ in range(REQUESTS))
        return await asyncio.gather(*asked)


@BOTH_MODES
def test_two_hundred_at_once_with_twenty_credits_get_exactly_twenty_tasks(
    product: Product, user: User
) -> None:
    # Ten tasks that their vendor never ends hold 80 of the 100 credits, so 20 can be spent.
    held = [user.generate("[[sim:hang]] held", quality="4k", num_images=4)["id"] for _ in range(10)]
    assert user.balance()["available_credits"] == CREDITS

    answers = asyncio.run(all_at_once(product, user.key))

    assert Counter(answer.status_code for answer in answers) == {201: CREDITS, 402: 180}
    for answer in answers:
        body = answer.json()
        if answer.status_code == 402:
            assert body["error"] == "insufficient_credits"
            assert body["details"]["required"] == 1.0
            assert body["details"]["available"] < 1.0
        else:
            assert body["credits_reserved"] == 1.0
    created = [answer.json()["task"]["id"] for answer in answers if answer.status_code == 201]
    assert [user.wait(task)["status"] for task in created] == ["completed"] * CREDITS
    for task in held:
        user.client.delete(f"{V2}/tasks/{task}").raise_for_status()
    after = _settled(user)
    assert after == {
        "total_credits": 100.0,
        "used_credits": 20.0,
        "reserved_credits": 0.0,
        "available_credits": 80.0,
    }
    for entry in user.history():
        assert min(entry["balance_after"].values()) >= 0, entry


def _settled(user: User) -> dict[str, float]:
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    return user.balance()
