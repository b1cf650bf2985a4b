"""Seed 004, priorities 1B and 1C: each row of its acceptance lists for images, over HTTP."""

from collections.abc import Iterator
from datetime import UTC

import httpx
import pytest

from kernel.clock import SystemClock
from tests.system.product import Product, User, new_key, wait_until

SCOPES = ("generation:create", "generation:read", "credits:read")
PROMPT = "A cute banana wearing sunglasses"


@pytest.fixture
def holder(product: Product, user: User) -> Iterator[httpx.Client]:
    """Sends a fresh key of a user with credits, as a bearer."""
    key = new_key(product, user.token, SCOPES)
    with product.client(Authorization=f"Bearer {key}") as client:
        yield client


def test_a_valid_key_gets_the_url_of_a_picture(product: Product, holder: httpx.Client) -> None:
    answer = holder.post("/v1/generate", json={"prompt": PROMPT, "size": "512x512"})
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"id", "url", "prompt", "created_at"}
    assert answer.json()["id"].startswith("gen_")
    assert answer.json()["prompt"] == PROMPT
    with product.client() as anonymous:
        picture = anonymous.get(answer.json()["url"])
    assert picture.status_code == 200
    assert picture.headers["content-type"].startswith("image/")


def test_google_alone_was_asked_and_the_picture_was_paid(user: User, holder: httpx.Client) -> None:
    holder.post("/v1/generate", json={"prompt": PROMPT}).raise_for_status()
    (task,) = user.tasks()
    assert (task["model_id"], task["provider"], task["credits_used"]) == (
        "gemini-image",
        "google",
        1.5,
    )
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert user.balance()["used_credits"] == 1.5


@pytest.mark.parametrize("key", ["nb_live_" + "0" * 32, "sk_live_nothing", "x"])
def test_an_invalid_key_is_401(product: Product, key: str) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        with product.client(**headers) as client:
            answer = client.post("/v1/generate", json={"prompt": PROMPT})
        assert (answer.status_code, answer.json().keys()) == (401, {"detail"})


def test_a_revoked_key_is_401(product: Product, user: User) -> None:
    with product.client(Authorization=f"Bearer {user.token}") as owner:
        made = owner.post("/v1/keys").json()
        owner.delete(f"/v1/keys/{made['id']}")
    with product.client(Authorization=f"Bearer {made['key']}") as client:
        assert client.post("/v1/generate", json={"prompt": PROMPT}).status_code == 401
    assert user.tasks() == []


def test_a_missing_prompt_is_422(holder: httpx.Client) -> None:
    answer = holder.post("/v1/generate", json={"size": "512x512"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("prompt")


def test_each_task_of_a_key_is_counted_for_its_day(product: Product, holder: httpx.Client) -> None:
    for size in ("256x256", "256x512"):
        holder.post("/v1/generate", json={"prompt": PROMPT, "size": size}).raise_for_status()
    task = holder.get("/api/v2/generation/tasks").json()["tasks"][0]
    today = SystemClock().now().astimezone(UTC).date()
    rows = product.rows(
        "SELECT u.day, u.tasks FROM generation_read.daily_usage u"
        " JOIN generation_read.generation_tasks t ON t.user_id = u.user_id"
        " WHERE t.task_id = $1",
        task["id"].removeprefix("task_"),
    )
    assert sum(row["tasks"] for row in rows) == 2
    assert all(abs((row["day"] - today).days) <= 1 for row in rows)


def test_a_refused_prompt_is_said_and_costs_nothing(user: User, holder: httpx.Client) -> None:
    answer = holder.post("/v1/generate", json={"prompt": "a cat [[sim:moderated]]"})
    assert answer.status_code == 422
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert user.balance()["used_credits"] == 0


def test_a_failing_provider_is_502_and_costs_nothing(user: User, holder: httpx.Client) -> None:
    answer = holder.post("/v1/generate", json={"prompt": "a cat [[sim:fail]]"})
    assert (answer.status_code, answer.json().keys()) == (502, {"detail"})
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert user.balance()["used_credits"] == 0
