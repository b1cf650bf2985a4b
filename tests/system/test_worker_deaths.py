"""The process is killed at each point of a job's life: no vendor is asked twice, what was made is
delivered, and what nobody can know of is counted, seen, and not charged."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kernel.clock import random_token
from kernel.runtime import quiet_port
from tests.system import dying
from tests.system.conftest import prepared
from tests.system.product import V2, Product, User, new_user, running, wait_until

EXPECTED = {
    dying.BEFORE_SUBMIT: (0, "failed", "provider_unknown", 0.0),
    dying.AFTER_SUBMIT: (1, "failed", "provider_unknown", 0.0),
    dying.AFTER_RECORD: (1, "completed", "completed", 1.0),
    dying.WHILE_DOWNLOADING: (1, "completed", "completed", 1.0),
    dying.AFTER_STORING: (1, "completed", "completed", 1.0),
}
"""How often kie.ai was asked, how the task ended, by which row, and for how many credits. kie.ai
gives no way to find a job whose answer was lost."""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Product]:
    with prepared("memory") as product:
        product.module = "tests.system.dying"
        product.settings = {
            **product.settings,
            "PORT": str(quiet_port(int.from_bytes(random_token(2)))),
            "DYING_FOLDER": str(tmp_path),
            "SMARTSPEC_UNKNOWN_FOR_S": "1",
        }
        with running(product):
            yield product


def asked(product: Product, prompt: str) -> int:
    """How many orders with this prompt the vendor has accepted."""
    port = (product.home / "simulator" / "port").read_text()
    journal = httpx.get(f"http://127.0.0.1:{port}/_journal", trust_env=False).json()["asked"]
    return sum(1 for entry in journal if entry["prompt"] == prompt and entry["task_id"])


def test_a_killed_worker_asks_no_vendor_twice_and_charges_for_nothing_unknown(
    mortal: Product, tmp_path: Path
) -> None:
    with new_user(mortal) as user:
        for point, (orders, status, outcome, paid) in EXPECTED.items():
            task = lived_through(mortal, user, tmp_path, point)
            found = (asked(mortal, f"{point} [[sim:canned]]"), task["status"], task["outcome"])
            assert found == (orders, status, outcome), point
            assert task["credits_used"] == paid, point
        balance = user.balance()
        assert (balance["used_credits"], balance["reserved_credits"]) == (3.0, 0.0)
    unknown = mortal.rows(
        "SELECT provider FROM generation.provider_jobs WHERE unknown_until IS NOT NULL"
    )
    assert [row["provider"] for row in unknown] == ["kie", "kie"]


def lived_through(product: Product, user: User, folder: Path, point: str) -> dict[str, object]:
    """A task whose process is killed at `point`, and started again; when it has ended."""
    (folder / point).touch()
    body = {
        "model_id": "nano-banana-pro",
        "prompt": f"{point} [[sim:canned]]",
        "options": {"resolution": "256x256"},
    }
    with contextlib.suppress(httpx.TransportError):  # it may die before it answers
        user.client.post(f"{V2}/generate", json=body)
    wait_until(lambda: product.process.poll() is not None, timeout_s=30)
    assert not (folder / point).exists()
    product.kill()
    product.start()
    wait_until(lambda: user.tasks()[0]["completed_at"] is not None, timeout_s=30)
    task: dict[str, object] = user.tasks()[0]
    assert task["prompt"] == body["prompt"]
    wait_until(lambda: user.balance()["reserved_credits"] == 0)
    return task
