"""A hold whose task never was: ended by itself, listed, and nothing else is touched."""

from datetime import timedelta

import httpx
import orjson

from contracts.envelope import Envelope
from contracts.generation import TaskCreated
from kernel.clock import SystemClock, new_id
from kernel.identifiers import shown
from kernel.inbox_partitions import first_id_of
from tests.system.product import Product, User, wait_until
from tests.system.test_poison import admin

LONG_AGO = timedelta(hours=1)
PRICE_UNITS = 12_345
A_ROUND_IS_DUE = "UPDATE credits.reconciliation SET due_at = 'epoch'"


def lost_creation(product: Product, user: User) -> TaskCreated:
    """As if generation's database had been restored to a moment before the task."""
    (account,) = product.rows(
        "SELECT account_id, user_id FROM credits_read.accounts ORDER BY opened_at DESC LIMIT 1"
    )
    event = TaskCreated(
        task_id=first_id_of(SystemClock().now() - LONG_AGO),
        user_id=account["user_id"],
        account_id=account["account_id"],
        key_id=None,
        monthly_credit_limit_units=None,
        task_type="image",
        model_id="flux-2",
        price_units=PRICE_UNITS,
        created_at=SystemClock().now() - LONG_AGO,
    )
    envelope = Envelope.of(
        event,
        event_id=new_id(),
        subject=f"task-{event.task_id}",
        version=1,
        time=event.created_at,
        correlation_id="req_lost",
    )
    written = orjson.dumps(envelope.model_dump(mode="json")).decode().replace("'", "''")
    product.rows(
        "INSERT INTO generation.outbox (event_id, owner, lease_until, envelope)"
        f" VALUES ('{envelope.id}', '{new_id()}', 'epoch', '{written}')"
    )
    wait_until(lambda: user.balance()["reserved_credits"] == PRICE_UNITS / 10_000)
    return event


def test_a_hold_of_a_task_that_never_was_is_released_and_listed(
    product: Product, user: User
) -> None:
    event = lost_creation(product, user)
    product.rows(A_ROUND_IS_DUE)
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert [entry["kind"] for entry in user.history()] == ["grant", "hold", "release"]
    with admin(product) as client:
        wait_until(lambda: differs(client, event) == ("hold_without_task", "released"))
        wait_until(lambda: client.get("/api/admin/reconciliation").json()["last_round"] is not None)


def test_a_task_under_way_keeps_its_hold(product: Product, user: User) -> None:
    task = user.generate("[[sim:latency seconds=3]] slow")
    product.rows(A_ROUND_IS_DUE)
    wait_until(
        lambda: product.rows("SELECT 1 FROM credits.reconciliation WHERE due_at > 'epoch'") != []
    )
    assert user.wait(task["id"])["status"] == "completed"
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert [entry["kind"] for entry in user.history()] == ["grant", "hold", "commit"]


def differs(client: httpx.Client, event: TaskCreated) -> tuple[str, str] | None:
    """The kind and the action of what the report says of the task."""
    report = client.get("/api/admin/reconciliation").raise_for_status().json()
    task_id = shown("task", event.task_id)
    found = [one for one in report["differences"] if one["task_id"] == task_id]
    return (found[0]["kind"], found[0]["action"]) if found else None


def test_the_report_is_an_admins(product: Product, user: User) -> None:
    with product.client(Authorization=f"Bearer {user.token}") as client:
        assert client.get("/api/admin/reconciliation").status_code == 403
