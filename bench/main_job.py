"""python -m bench.main_job: the main job, from the product's start to its end, in one run.

Prints JSON and writes bench/results/main_job.json. Every figure is of the embedded mode with fsync
on, taken from outside over HTTP; what the figures mean is in bench/README.md.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import httpx

from bench.limits import three_commits
from bench.load import latency_ms
from bench.repetitions import machine, median, write
from tests.system.product import V2, Product, User, new_user

ROUNDS: Final = 3
"""Starts and races; the median is reported, and all of them."""
SINGLE_REQUESTS: Final = 60
RATE_PER_S: Final = 50
RATE_FOR_S: Final = 3
RATE_USERS: Final = 2
"""Each has 100 credits, and pays one for each request."""
RACE_REQUESTS: Final = 200
HELD_TASKS: Final = 10
"""Of 8 credits each, never ended by their vendor: 20 of the 100 credits are left to race for."""
IN_FLIGHT_AT_END: Final = 4
PICTURE: Final = {"resolution": "512x512"}


class Answer(NamedTuple):
    """What came of one request; `task_id` when it was taken."""

    status: int
    seconds: float
    task_id: str | None


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        Path(folder).chmod(0o711)  # the embedded server runs as another user when we are root
        product = Product(Path(folder) / "home")
        try:
            result = {"machine": machine(), **_measure(product)}
        finally:
            product.kill()
    return write("main_job", result)


def _measure(product: Product) -> dict[str, Any]:
    cold_s = _start_s(product)
    warm_s, idle_end_s = [], []
    for _ in range(ROUNDS):
        idle_end_s.append(_end_s(product))
        warm_s.append(_start_s(product))
    result = {
        "ready_cold_s": round(cold_s, 2),
        "ready_warm_s": median(warm_s),
        "generate_to_201": asyncio.run(_generate(product)),
        "race": _races(product),
    }
    with new_user(product) as user:
        for _ in range(IN_FLIGHT_AT_END):
            user.generate("[[sim:latency seconds=30]] in flight", **PICTURE)
        busy_end_s = _end_s(product)
    return {
        **result,
        "ctrl_c_idle_s": median(idle_end_s),
        "ctrl_c_with_tasks_in_flight_s": round(busy_end_s, 2),
    }


def _start_s(product: Product) -> float:
    began_s = perf_counter()
    product.start()
    return perf_counter() - began_s


def _end_s(product: Product) -> float:
    status, seconds = product.interrupt()
    assert status == 0, product.words()[-2_000:]
    return seconds


async def _generate(product: Product) -> dict[str, Any]:
    """One client, and a fixed rate whatever the answers take; the limit before and after."""
    limit_before = await three_commits(product.dsn)
    with ExitStack() as users:
        keys = [users.enter_context(new_user(product)).key for _ in range(RATE_USERS + 2)]
    async with _client(product) as client:
        await _one_at_a_time(client, keys[0], 5)  # warms caches; not counted
        single = await _one_at_a_time(client, keys[0], SINGLE_REQUESTS)
        back_to_back = await _back_to_back(client, keys[1], SINGLE_REQUESTS)
        at_rate = await _at_a_rate(client, keys[2:])
    limit = await three_commits(product.dsn)
    ratio = _spread(single)["p50_ms"] / limit["p50_ms"]
    return {
        "one_client": _spread(single),
        "back_to_back": _spread(back_to_back),
        f"at_{RATE_PER_S}_per_s": _spread(at_rate),
        "limit_three_commits": limit,
        "limit_three_commits_before": limit_before,
        "one_client_p50_to_limit_p50": round(ratio, 1),
    }


async def _one_at_a_time(client: httpx.AsyncClient, key: str, count: int) -> list[Answer]:
    """Each is asked when the task before it has ended, so that nothing else is being done."""
    answers = []
    for _ in range(count):
        answers.append(answer := await _ask(client, key, "[[sim:canned]] alone"))
        await _until_ended(client, key, answer)
    return answers


async def _back_to_back(client: httpx.AsyncClient, key: str, count: int) -> list[Answer]:
    """Each is asked when the one before it is answered: the pictures of all are made meanwhile."""
    answers = [await _ask(client, key, "[[sim:canned]] alone") for _ in range(count)]
    for answer in answers:
        await _until_ended(client, key, answer)
    return answers


async def _until_ended(client: httpx.AsyncClient, key: str, answer: Answer) -> None:
    if answer.task_id is not None:
        await client.get(f"{V2}/tasks/{answer.task_id}/wait", headers={"X-API-Key": key})


async def _at_a_rate(client: httpx.AsyncClient, keys: Sequence[str]) -> list[Answer]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    asked = []
    for nth in range(RATE_PER_S * RATE_FOR_S):
        await asyncio.sleep(max(0.0, began_s + nth / RATE_PER_S - loop.time()))
        key = keys[nth % len(keys)]
        asked.append(asyncio.create_task(_ask(client, key, "[[sim:canned]] at a rate")))
    answers = list(await asyncio.gather(*asked))
    for nth, answer in enumerate(answers):  # what is measured next must not share the processors
        await _until_ended(client, keys[nth % len(keys)], answer)
    return answers


def _spread(answers: Sequence[Answer]) -> dict[str, Any]:
    statuses = Counter(str(answer.status) for answer in answers)
    return {**latency_ms([answer.seconds for answer in answers]), "statuses": dict(statuses)}


async def _ask(client: httpx.AsyncClient, key: str, prompt: str) -> Answer:
    body = {"model_id": "nano-banana-pro", "prompt": prompt, "options": PICTURE}
    began_s = perf_counter()
    answer = await client.post(f"{V2}/generate", json=body, headers={"X-API-Key": key})
    seconds = perf_counter() - began_s
    task = answer.json().get("task", {})
    return Answer(answer.status_code, seconds, task.get("id"))


def _client(product: Product) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=RACE_REQUESTS, max_keepalive_connections=RACE_REQUESTS)
    return httpx.AsyncClient(base_url=product.url, limits=limits, timeout=60, trust_env=False)


def _races(product: Product) -> dict[str, Any]:
    rounds = []
    for _ in range(ROUNDS):
        with new_user(product) as user:
            rounds.append(_race(product, user))
    return {
        "goal_s": 10,
        "all_complete_s": median([one["all_complete_s"] for one in rounds]),
        "answered_s": median([one["answered_s"] for one in rounds]),
        "statuses": [one["statuses"] for one in rounds],
    }


def _race(product: Product, user: User) -> dict[str, Any]:
    """200 requests at once for real pictures, with credits for 20 of them."""
    held = [
        user.generate("[[sim:hang]] held", quality="4k", num_images=4)["id"]
        for _ in range(HELD_TASKS)
    ]
    began_s = perf_counter()
    answers = asyncio.run(_all_at_once(product, user.key))
    answered_s = perf_counter() - began_s
    ended = [user.wait(answer.task_id)["status"] for answer in answers if answer.task_id]
    all_complete_s = perf_counter() - began_s
    assert set(ended) == {"completed"}, ended
    for task_id in held:
        user.client.delete(f"{V2}/tasks/{task_id}").raise_for_status()
    return {
        "answered_s": answered_s,
        "all_complete_s": all_complete_s,
        "statuses": _spread(answers)["statuses"],
    }


async def _all_at_once(product: Product, key: str) -> list[Answer]:
    async with _client(product) as client:
        asked = (_ask(client, key, "a quiet harbour") for _ in range(RACE_REQUESTS))
        return list(await asyncio.gather(*asked))


if __name__ == "__main__":
    sys.exit(main())
