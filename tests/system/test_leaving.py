"""What the whole product does when keys says that a user was shut out, or erased.

The message is put into the outbox of keys, as a row whose publisher has died: it goes the way that
every event goes, to each service that must hear it.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx

from contracts.envelope import PublicEvent
from contracts.keys import UserDisabled, UserErased
from kernel.clock import SystemClock
from kernel.identifiers import parsed
from kernel.testing import envelope_of
from tests.system.product import V2, Product, User, wait_until

MADE, HELD = "[[sim:canned]] made", "[[sim:hang]] held"
SMALL = "512x512"
NO_OTHER = UUID(int=1)


def tell(product: Product, event: PublicEvent) -> None:
    envelope = envelope_of(event, subject="user-1")
    product.rows(
        "INSERT INTO keys.outbox (event_id, owner, lease_until, envelope)"
        " VALUES ($1, $2, '2000-01-01', $3::text::jsonb)",
        *(envelope.id, NO_OTHER, envelope.model_dump_json()),
    )


def who(product: Product, user: User) -> tuple[UUID, UUID]:
    """The user's id, and the account's."""
    with product.client(Authorization=f"Bearer {user.token}") as signed_in:
        shown = signed_in.get("/auth/me").raise_for_status().json()["data"]["id"]
    user_id = parsed("user", shown)
    assert user_id is not None
    [row] = product.rows(
        "SELECT data FROM credits.events WHERE type = 'AccountOpened' AND data->>'user_id' = $1",
        str(user_id),
    )
    return user_id, UUID(json.loads(row["data"])["account_id"])


def now() -> datetime:
    return SystemClock().now()


def files_of(product: Product, user_id: UUID, tasks: Sequence[str]) -> list[str]:
    """The user's objects on disk: pictures by their owner, thumbnails by their tasks."""
    names = {user_id.hex, *(task.removeprefix("task_") for task in tasks)}
    found = (product.home / "objects").rglob("*")
    return [str(path) for path in found if path.is_file() and any(n in str(path) for n in names)]


def statuses(user: User) -> list[str]:
    return sorted(task["status"] for task in user.tasks())


def test_the_active_tasks_of_who_is_shut_out_end_and_cost_nothing(
    product: Product, user: User
) -> None:
    user_id, account_id = who(product, user)
    done = user.wait(user.generate(MADE, resolution=SMALL)["id"])
    for _ in range(3):
        user.generate(HELD, resolution=SMALL)
    told = UserDisabled(user_id=user_id, account_id=account_id, disabled_at=now())
    for _ in range(2):
        tell(product, told)
    wait_until(lambda: statuses(user) == ["cancelled"] * 3 + ["completed"], 60)
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    assert user.balance()["used_credits"] == done["credits_used"]
    assert {task["prompt"] for task in user.tasks()} == {MADE, HELD}


def test_an_erased_user_leaves_no_words_and_no_files_and_the_ledger_stays(
    product: Product, user: User
) -> None:
    user_id, account_id = who(product, user)
    done = user.wait(user.generate(MADE, resolution=SMALL)["id"])
    held = user.generate(HELD, resolution=SMALL)["id"]
    picture = {"url": done["output_url"], "headers": {"X-API-Key": ""}}
    assert user.client.get(**picture).status_code == 200
    before = user.history()

    tell(product, UserErased(user_id=user_id, account_id=account_id, erased_at=now()))
    wait_until(lambda: not files_of(product, user_id, [done["id"], held]), 60)
    wait_until(lambda: statuses(user) == ["cancelled", "completed"], 60)
    wait_until(lambda: user.balance()["reserved_credits"] == 0)

    assert user.client.get(**picture).status_code == 404
    wait_until(lambda: all(task["prompt"] is None for task in user.tasks()))
    assert _count(product, "generation.personal", "owner_id", user_id) == 0
    assert _count(product, "storage_read.files", "user_id", user_id) == 0
    wait_until(lambda: _is_proven(product, user_id), 60)
    assert _count(product, "storage_read.stays", "user_id", user_id) == 0
    assert user.history()[: len(before)] == before
    assert user.balance()["used_credits"] == done["credits_used"]
    assert _ask(user).status_code == 403


def _count(product: Product, table: str, column: str, user_id: UUID) -> int:
    [row] = product.rows(f"SELECT count(*) FROM {table} WHERE {column} = $1", user_id)
    return int(row["count"])


def _is_proven(product: Product, user_id: UUID) -> bool:
    [row] = product.rows("SELECT proven_at FROM storage.erasures WHERE user_id = $1", user_id)
    return row["proven_at"] is not None


def _ask(user: User) -> httpx.Response:
    body: dict[str, Any] = {"model_id": "nano-banana-pro", "prompt": MADE}
    return user.client.post(f"{V2}/generate", json=body)
