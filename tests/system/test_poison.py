"""A message that its service can't handle: it is parked within its tries, seen, in nobody's way,
and replayed after the fix with the same end as if it had never failed."""

import contextlib
import json
import re
from collections.abc import Iterator

import httpx
import psutil
import pytest

from kernel.identifiers import parsed
from kernel.inbox import RETRIES_AFTER_S
from tests.system.conftest import BOTH_MODES
from tests.system.product import Product, User, log_in, wait_until

PLANT = (
    """
    CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a fault of the deployment';
    END $$""",
    """
    CREATE TRIGGER planted BEFORE UPDATE ON credits.streams
    FOR EACH ROW WHEN (NEW.stream_id = 'hold-{task}') EXECUTE FUNCTION public.fail()""",
)
MEND = "DROP FUNCTION IF EXISTS public.fail() CASCADE"
TIME_PASSES = "UPDATE credits.inbox SET due_at = clock_timestamp() WHERE state = 'retry'"
KEPT = "SELECT message_id, state, attempts FROM credits.inbox WHERE state <> 'done'"
METRIC = re.compile(
    r'^smartspec_inbox_messages\{service="credits",state="parked"\} 1\.0$', re.MULTILINE
)


@pytest.fixture
def slow_task(product: Product, user: User) -> Iterator[str]:
    """A task that ends in a moment, whose hold the ledger will not be able to end."""
    shown = str(user.generate("[[sim:latency seconds=1.5]] poison")["id"])
    for statement in PLANT:
        product.rows(statement.format(task=parsed("task", shown)))
    yield shown
    product.rows(MEND)


def admin(product: Product) -> httpx.Client:
    secrets = json.loads((product.home / "secrets.json").read_text())
    token = log_in(product, "admin@smartspec.local", secrets["admin_password"])
    return product.client(Authorization=f"Bearer {token}")


def metrics_of_credits(product: Product) -> str:
    """Of whichever process serves it."""
    for process in psutil.Process(product.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-2:] == ["-m", "services.credits"]:
                port = process.environ()["PORT"]
                return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return httpx.get(f"http://127.0.0.1:{product.metrics_port}/metrics", trust_env=False).text


@BOTH_MODES
def test_is_parked_seen_in_nobodys_way_and_replayed_to_the_same_end(
    product: Product, user: User, slow_task: str
) -> None:
    assert user.wait(slow_task)["status"] == "completed"
    wait_until(lambda: len(product.rows(KEPT)) == 1)
    for attempts in range(1, len(RETRIES_AFTER_S) + 1):
        wait_until(lambda n=attempts: product.rows(KEPT)[0]["attempts"] == n)  # type: ignore[misc]
        other = user.generate("[[sim:canned]] beside it")  # the same account, so the same lane
        assert user.wait(other["id"])["status"] == "completed"
        product.rows(TIME_PASSES)
    wait_until(lambda: product.rows(KEPT)[0]["state"] == "parked")

    beside = len(RETRIES_AFTER_S)
    wait_until(lambda: user.balance()["used_credits"] == beside)
    assert user.balance()["reserved_credits"] == 1.0, "the poisoned hold is the only one open"
    wait_until(lambda: METRIC.search(metrics_of_credits(product)) is not None)
    with admin(product) as client:
        (letter,) = client.get("/api/admin/dead-letters").json()["dead_letters"]
        assert (letter["consumer"], letter["type"]) == ("credits", "TaskCompleted")
        assert letter["attempts"] == len(RETRIES_AFTER_S) + 1
        assert "a fault of the deployment" in letter["error"]

        product.rows(MEND)
        answer = client.post(f"/api/admin/dead-letters/{letter['message_id']}/replay")
        assert answer.status_code == 202
        wait_until(lambda: user.balance()["reserved_credits"] == 0)
        assert client.get("/api/admin/dead-letters").json()["dead_letters"] == []
    assert user.balance()["used_credits"] == beside + 1
    assert product.rows(KEPT) == []
    kinds = [entry["kind"] for entry in user.history()]
    assert kinds.count("hold") == kinds.count("commit") == beside + 1
