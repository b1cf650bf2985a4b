"""Holds and tasks that have lost each other, planted in a running product: mended, and listed."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from contracts.envelope import Envelope
from contracts.generation import TaskCreated
from kernel.clock import SystemClock, new_id, uuid7
from kernel.identifiers import shown
from tests.system.product import Product, User, log_in, new_user, running, wait_until

PATH = "/api/admin/reconciliation"
PRICE_UNITS = 10_000
BORN = SystemClock().now() - timedelta(hours=1)
DUE = "UPDATE credits.reconciliation SET due_at = 'epoch', holder = NULL"
ONE_AND_MANY = pytest.mark.parametrize("own_product", ["memory", "separate"], indirect=True)


def old_id() -> UUID:
    return uuid7(int(BORN.timestamp() * 1_000), 0, new_id().int)


def account_of(product: Product) -> UUID:
    """Of whoever came last."""
    (row,) = product.rows(
        "SELECT account_id FROM credits_read.accounts ORDER BY opened_at DESC LIMIT 1"
    )
    account_id: UUID = row["account_id"]
    return account_id


def ask_for_credits(product: Product, account_id: UUID, task_id: UUID) -> None:
    """As generation would have, whose outbox somebody sends on."""
    event = TaskCreated(
        task_id=task_id,
        user_id=account_id,
        account_id=account_id,
        key_id=None,
        monthly_credit_limit_units=None,
        task_type="image",
        model_id="nano-banana-pro",
        price_units=PRICE_UNITS,
        created_at=BORN,
    )
    envelope = Envelope.of(
        event,
        event_id=new_id(),
        subject=f"task-{task_id}",
        version=1,
        time=BORN,
        correlation_id="planted",
    )
    product.rows(
        "INSERT INTO generation.outbox (event_id, owner, lease_until, envelope)"
        " VALUES ($1, $2, 'epoch', $3::text::jsonb)",
        *(envelope.id, new_id(), envelope.model_dump_json()),
    )


def plant_task(
    product: Product, account_id: UUID, task_id: UUID, stage: str, last: Mapping[str, Any]
) -> None:
    """A task as generation remembers it: its head, and the last of its events."""
    head = {
        "stage": stage,
        "task_id": str(task_id),
        "user_id": str(account_id),
        "account_id": str(account_id),
        "price_units": PRICE_UNITS,
        "outputs": 1,
    }
    product.rows(
        "INSERT INTO generation.streams (stream_id, version, state)"
        " VALUES ($1, 1, $2::text::jsonb)",
        *(f"task-{task_id}", json.dumps(head)),
    )
    product.rows(
        "INSERT INTO generation.events (event_id, stream_id, version, type, schema_version, data,"
        " metadata, recorded_at) VALUES ($1, $2, 1, $3, 1, $4::text::jsonb, $5::text::jsonb, $6)",
        *(new_id(), f"task-{task_id}", last["type"], json.dumps(last["data"])),
        json.dumps({"correlation_id": "planted", "causation_id": None, "traceparent": None}),
        BORN,
    )


def plant_completed(product: Product, account_id: UUID, task_id: UUID) -> None:
    """Whose word of its end is in no outbox."""
    data = {
        "task_id": str(task_id),
        "user_id": str(account_id),
        "account_id": str(account_id),
        "model_id": "nano-banana-pro",
        "charged_units": PRICE_UNITS,
        "outcome": "completed",
        "at": BORN.isoformat(),
    }
    last = {"type": "TaskCompleted", "data": data}
    plant_task(product, account_id, task_id, "completed", last)


def plant_live(product: Product, account_id: UUID, task_id: UUID) -> None:
    data = {"task_id": str(task_id), "at": BORN.isoformat()}
    plant_task(product, account_id, task_id, "queued", {"type": "TaskReserved", "data": data})
    product.rows(
        "INSERT INTO generation_read.generation_tasks (task_id, user_id, stage, task_type,"
        " model_id, provider, price_units, version, created_at)"
        " VALUES ($1, $2, 'queued', 'image', 'nano-banana-pro', 'kie', $3, 1, $4)",
        *(task_id, account_id, PRICE_UNITS, BORN),
    )


def admin(product: Product) -> httpx.Client:
    secrets = json.loads((product.home / "secrets.json").read_text())
    token = log_in(product, "admin@smartspec.local", secrets["admin_password"])
    return product.client(Authorization=f"Bearer {token}")


def seen(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get(PATH).raise_for_status().json())


def reconcile(product: Product, client: httpx.Client) -> dict[str, Any]:
    """What is seen after the next round."""
    before = SystemClock().now()
    product.rows(DUE)

    def is_over() -> bool:
        last = seen(client)["last_round"]
        return last is not None and datetime.fromisoformat(last["at"]) > before

    wait_until(is_over, 30)
    return seen(client)


def use_and_plant(product: Product, user: User) -> tuple[UUID, UUID, UUID]:
    """A hold that no task has, a completed task whose word was lost, a task without a hold."""
    account_id, stray, ended, bare = account_of(product), old_id(), old_id(), old_id()
    plant_completed(product, account_id, ended)
    for task_id in (stray, ended):
        ask_for_credits(product, account_id, task_id)
    wait_until(lambda: user.balance()["reserved_credits"] == 2)
    plant_live(product, account_id, bare)
    return stray, ended, bare


@ONE_AND_MANY
def test_what_has_lost_its_other_half_is_mended_once_and_listed(own_product: Product) -> None:
    with running(own_product) as product, new_user(product) as user, admin(product) as client:
        done = user.wait(user.generate("[[sim:canned]] an honest one")["id"])
        assert done["status"] == "completed"
        wait_until(lambda: user.balance()["reserved_credits"] == 0)
        used_credits = user.balance()["used_credits"]
        stray, ended, bare = use_and_plant(product, user)

        told = reconcile(product, client)

        wait_until(lambda: user.balance()["reserved_credits"] == 0)
        assert user.balance()["used_credits"] == used_credits + 1
        found = {one["task_id"]: (one["kind"], one["action"]) for one in told["differences"]}
        assert found == {
            shown("task", stray): ("hold_without_task", "released"),
            shown("task", ended): ("hold_of_ended_task", "committed"),
            shown("task", bare): ("task_without_hold", None),
        }
        open_ones = client.get(PATH, params={"open": True}).json()["differences"]
        assert [one["task_id"] for one in open_ones] == [shown("task", bare)]
        assert told["platform"]["sum_credits"] == 0

        history = user.history()
        again = reconcile(product, client)
        assert user.history() == history
        assert len(again["differences"]) == len(found)
