"""A user's credits through the edge: plan, grant, code, task; and every place that shows them."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from kernel.clock import new_id
from tests.system.conftest import BOTH_MODES
from tests.system.product import V2, Product, User, log_in, wait_until

pytestmark = BOTH_MODES

REDEEM = f"{V2}/credits/redeem"
GRANTS = "/api/admin/credits/grants"
CODES = "/api/admin/credits/codes"
PLANS = "/api/admin/credits/plans"


@pytest.fixture
def admin(product: Product) -> Iterator[httpx.Client]:
    found = re.search(r"as the admin: (\S+)  password: (\S+)", product.words())
    assert found is not None
    token = log_in(product, found[1], found[2])
    with product.client(Authorization=f"Bearer {token}") as client:
        yield client


@pytest.fixture
def signed_in(product: Product, user: User) -> Iterator[httpx.Client]:
    with product.client(Authorization=f"Bearer {user.token}") as client:
        yield client


def id_of(signed_in: httpx.Client) -> str:
    return str(signed_in.get("/auth/me").raise_for_status().json()["data"]["id"])


def plan_of(admin: httpx.Client, user: User) -> str:
    """As keys has it, which hears of it."""
    listed = admin.get("/api/admin/users", params={"email": user.email}).raise_for_status().json()
    return str(listed["users"][0]["plan"])


def wallet(signed_in: httpx.Client, path: str = "") -> dict[str, Any]:
    body = signed_in.get(f"/wallet{path}").raise_for_status().json()
    assert body["success"] is True
    return dict(body["data"])


def test_what_is_given_and_used_is_shown_alike_everywhere(
    admin: httpx.Client, user: User, signed_in: httpx.Client
) -> None:
    grant = {"user_id": id_of(signed_in), "amount": 2.0001, "reason": "=welcome", "grant_id": None}
    grant["grant_id"] = f"system-{new_id().hex}"
    posted = admin.post(GRANTS, json=grant).raise_for_status().json()
    assert admin.post(GRANTS, json=grant).json() == posted | {"repeated": True}
    (code,) = admin.post(CODES, json={"amount": 3}).raise_for_status().json()["codes"]
    redeemed = signed_in.post(REDEEM, json={"code": code.lower()}).raise_for_status().json()
    assert (redeemed["amount"], redeemed["balance"]["available_credits"]) == (3.0, 105.0001)
    assert signed_in.post(REDEEM, json={"code": code}).json()["error"] == "code_redeemed"
    task = user.wait(user.generate("[[sim:canned]] a purse")["id"])
    assert task["status"] == "completed"
    used = task["credits_used"]
    assert used > 0
    refund = {"user_id": id_of(signed_in), "kind": "refund", "task_id": task["id"]}
    admin.post(GRANTS, json=refund | {"amount": 0.5, "reason": "blurred"}).raise_for_status()

    balance = user.balance()
    available = pytest.approx(105.0001 - used + 0.5, abs=1e-9)
    assert balance["available_credits"] == available
    history = user.history()
    kinds = [entry["kind"] for entry in history]
    assert kinds == ["grant", "grant", "grant", "hold", "commit", "refund"]
    assert history[-1]["balance_after"].items() <= balance.items()

    statement = user.client.get(f"{V2}/credits/history.csv").raise_for_status()
    assert statement.headers["content-type"].startswith("text/csv")
    assert statement.headers["content-disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(statement.text, newline="")))
    assert [row["id"] for row in rows] == [entry["id"] for entry in reversed(history)]
    assert (rows[-2]["amount"], rows[-2]["reason"]) == ("2.0001", "'=welcome")

    usage = user.client.get(f"{V2}/usage").raise_for_status().json()
    assert [one["task_id"] for one in usage["usage"]] == [task["id"]]
    assert (usage["totals"]["tasks"], usage["totals"]["credits_used"]) == (1, used - 0.5)

    assert wallet(signed_in)["balance"] == balance["available_credits"]
    shown = wallet(signed_in, "/transactions?limit=100")["transactions"][::-1]
    assert [one["usage_type"] for one in shown if one["usage_type"] != "reservation_returned"] == [
        *("grant", "grant", "grant", "reservation", "refund")
    ]
    for before, after in pairwise(shown):
        change = after["amount"] * (1 if after["transaction_type"] == "credit" else -1)
        assert after["balance_after"] == pytest.approx(before["balance_after"] + change, abs=1e-9)


def test_the_balance_is_shown_as_it_was(user: User) -> None:
    (grant,) = user.history()
    user.wait(user.generate("[[sim:canned]] a purse")["id"])
    then = user.client.get(f"{V2}/credits", params={"as_of": grant["created_at"]})
    assert then.raise_for_status().json()["available_credits"] == 100.0
    future = user.client.get(f"{V2}/credits", params={"as_of": "2100-01-01T00:00:00Z"})
    assert (future.status_code, future.json()["details"]) == (422, {"field": "as_of"})


def test_an_admin_defines_a_plan_and_gives_it_to_somebody(
    admin: httpx.Client, user: User, signed_in: httpx.Client
) -> None:
    plan_id = f"plan-{new_id().hex}"
    terms = {"name": "Pro", "monthly_credits": 500.5}
    plan = admin.put(f"{PLANS}/{plan_id}", json=terms).raise_for_status().json()["plan"]
    assert (plan["monthly_credits"], plan["version"]) == (500.5, 1)
    assert plan in admin.get(PLANS).raise_for_status().json()["plans"]
    path = f"/api/admin/users/{id_of(signed_in)}/plan"
    changed = admin.put(path, json={"plan_id": plan_id}).raise_for_status().json()
    assert changed["balance"]["available_credits"] == 500.5
    wait_until(lambda: plan_of(admin, user) == plan_id)
    assert [
        one["amount"] for one in user.client.get(f"{V2}/credits?ending=true").json()["ending"]
    ] == [500.5]


def test_what_is_an_admins_is_no_users_and_no_keys(user: User, signed_in: httpx.Client) -> None:
    for method, path in (
        *(("POST", GRANTS), ("GET", PLANS), ("PUT", f"{PLANS}/pro"), ("POST", CODES)),
        ("PUT", f"/api/admin/users/{id_of(signed_in)}/plan"),
    ):
        assert signed_in.request(method, path).status_code == 403
        assert user.client.request(method, path).status_code == 401
    assert user.client.post(REDEEM, json={"code": "x"}).status_code == 401
    assert user.client.get("/wallet").status_code == 401


def test_an_amount_that_is_none_is_refused_at_the_edge_too(
    admin: httpx.Client, signed_in: httpx.Client
) -> None:
    for amount in ("0", "-1", "1.00001", "1000000000000.0001", "NaN", '"1"'):
        content = f'{{"user_id": "{id_of(signed_in)}", "amount": {amount}, "reason": "x"}}'
        answer = admin.post(GRANTS, content=content)
        assert answer.status_code == 422
        assert [one["field"] for one in answer.json()["details"]["fields"]] == ["amount"]
