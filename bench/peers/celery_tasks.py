"""The steps of a task as Celery's worker runs them; `bench.peers.celery_saga` starts it.

Every step is a message of its own on a quorum queue, published with a confirm and acknowledged
after its commit.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
from celery import Celery

VARIABLE = "BENCH_CELERY"
"""The peer's arguments, for the worker, which Celery starts."""
PRICE_UNITS = 10_000
LOOK_AGAIN_S = 0.05


def new_app(given: Mapping[str, Any]) -> Celery:
    app = Celery(broker=given.get("url"))
    app.conf.update(
        task_default_queue=given.get("queue"),
        task_default_queue_type="quorum",
        task_acks_late=True,
        task_ignore_result=True,
        broker_transport_options={"confirm_publish": True},
        worker_enable_remote_control=False,
    )
    return app


GIVEN: dict[str, Any] = json.loads(os.environ.get(VARIABLE, "{}"))
app = new_app(GIVEN)


class Hands:
    """What each process of the worker keeps open."""

    def __init__(self) -> None:
        self.database = psycopg.connect(GIVEN["dsn"])
        self.vendor = httpx.Client(
            base_url=GIVEN["vendor"], headers={"Authorization": "Bearer peer"}, trust_env=False
        )

    def commit(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """All of them, each of which must change one row."""
        with self.database.transaction():
            for text, values in statements:
                assert self.database.execute(text, values).rowcount == 1, text


_HANDS: list[Hands] = []


def hands() -> Hands:
    if not _HANDS:
        _HANDS.append(Hands())
    return _HANDS[0]


@app.task
def reserve(task: str, account: int) -> None:
    hands().commit(
        (
            "UPDATE accounts SET held = held + %s WHERE id = %s AND granted - held - used >= %s",
            (PRICE_UNITS, account, PRICE_UNITS),
        ),
        ("UPDATE tasks SET stage = 'queued' WHERE id = %s", (task,)),
    )
    submit.delay(task, account)


@app.task
def submit(task: str, account: int) -> None:
    answer = hands().vendor.post(
        "/api/v1/jobs/createTask",
        json={
            "model": "nano-banana-pro",
            "input": {"prompt": "a quiet harbour", "aspect_ratio": "1:1", "resolution": "1K"},
        },
    )
    job = answer.raise_for_status().json()["data"]["taskId"]
    hands().commit(
        ("UPDATE tasks SET stage = 'processing', vendor_job = %s WHERE id = %s", (job, task))
    )
    look.delay(task, account, job)


@app.task
def look(task: str, account: int, job: str) -> None:
    answer = hands().vendor.get("/api/v1/jobs/recordInfo", params={"taskId": job})
    data = answer.raise_for_status().json()["data"]
    if data["state"] != "success":
        time.sleep(LOOK_AGAIN_S)
        look.delay(task, account, job)
        return
    (url,) = json.loads(data["resultJson"])["resultUrls"]
    store.delay(task, account, url)


@app.task
def store(task: str, account: int, url: str) -> None:
    content = hands().vendor.get(url).raise_for_status().content
    path = Path(GIVEN["folder"]) / f"{task}.png"
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    hands().commit(
        ("UPDATE tasks SET stage = 'stored', path = %s WHERE id = %s", (str(path), task))
    )
    charge.delay(task, account)


@app.task
def charge(task: str, account: int) -> None:
    hands().commit(
        (
            "UPDATE accounts SET held = held - %s, used = used + %s WHERE id = %s",
            (PRICE_UNITS, PRICE_UNITS, account),
        ),
        ("UPDATE tasks SET stage = 'completed' WHERE id = %s", (task,)),
    )
