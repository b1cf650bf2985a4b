"""KLIKYAI's wallet at the edge, over a credits that was written for the test."""

import json
from itertools import pairwise
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.gateway.driving import Answer, World, api_key, bearer, respond

CREDITS = "/api/v2/generation/credits"
BALANCE = {
    "total_credits": 100.0,
    "used_credits": 25.5,
    "reserved_credits": 3.0001,
    "available_credits": 71.4999,
}


def entry(kind: str, change: float, available: float, **more: Any) -> dict[str, Any]:
    return {
        "id": f"entry_{kind}",
        "kind": kind,
        "amount": 1.0,
        "change": change,
        "debit_account": "account",
        "credit_account": "platform:revenue",
        "task_id": None,
        "reason": None,
        "ends_at": None,
        "balance_after": BALANCE | {"available_credits": available},
        "created_at": "2026-11-24T09:30:00Z",
        **more,
    }


ENTRIES = [
    entry("expire", -2.0, 96.5),
    entry("charge", -0.25, 98.5, reason="storage:2026-11-24"),
    entry("adjust", -0.25, 98.75, reason="a mistake"),
    entry("refund", 0.5, 99.0, reason="blurred", task_id="task_1"),
    entry("release", 1.0, 98.5, task_id="task_2"),
    entry("hold", -1.0, 97.5, task_id="task_2"),
    entry("commit", 0.5, 98.5, task_id="task_1"),
    entry("hold", -2.0, 98.0, task_id="task_1"),
    entry("commit", 0.0, 100.0, task_id="task_0"),
    entry("grant", 100.0, 100.0, reason="plan:free", ends_at="2026-12-24T09:30:00Z"),
]


class Native:
    """What credits was asked, and what it says to each path."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[int, Any]] = {
            CREDITS: (200, BALANCE),
            f"{CREDITS}/history": (200, {"transactions": ENTRIES, "next_cursor": "7"}),
        }
        self.asked: list[tuple[str, str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        self.asked.append((scope["method"], scope["path"], query))
        status, answer = self.said[scope["path"]]
        await respond(send, status, [], json.dumps(answer).encode())


@pytest.fixture
def native(world: World) -> Native:
    world.credits.act = native = Native()
    return native


async def ask(world: World, path: str, query: str = "") -> Answer:
    return await world.ask("GET", path, [bearer(world.token())], query=query)


async def transactions(world: World) -> list[dict[str, Any]]:
    answer = await ask(world, "/wallet/transactions")
    assert answer.status == 200
    shown: list[dict[str, Any]] = answer.json["data"]["transactions"]
    return shown


async def test_a_wallet_is_the_balance(world: World, native: Native) -> None:
    answer = await ask(world, "/wallet")
    assert (answer.status, answer.json) == (
        200,
        {
            "success": True,
            "message": "Wallet retrieved successfully",
            "data": {
                "balance": 71.4999,
                "total_credits": 100.0,
                "used_credits": 25.5,
                "reserved_credits": 3.0001,
                "currency": "credits",
            },
        },
    )
    assert native.asked == [("GET", CREDITS, "")]


async def test_a_transaction_is_a_credit_or_a_debit_with_what_it_is_for(
    world: World, native: Native
) -> None:
    shown = await transactions(world)
    assert [(one["transaction_type"], one["amount"], one["usage_type"]) for one in shown] == [
        ("debit", 2.0, "expire"),
        ("debit", 0.25, "charge"),
        ("debit", 0.25, "adjust"),
        ("credit", 0.5, "refund"),
        ("credit", 1.0, "reservation_returned"),
        ("debit", 1.0, "reservation"),
        ("credit", 0.5, "reservation_returned"),
        ("debit", 2.0, "reservation"),
        ("credit", 100.0, "grant"),
    ]
    assert all(one["description"] for one in shown)


async def test_each_balance_follows_from_the_one_before(world: World, native: Native) -> None:
    oldest_first = (await transactions(world))[::-1]
    for before, after in pairwise(oldest_first):
        sign = 1 if after["transaction_type"] == "credit" else -1
        assert after["balance_after"] == before["balance_after"] + sign * after["amount"]


async def test_metadata_says_which_task_and_kind_of_entry_and_until_when(
    world: World, native: Native
) -> None:
    shown = await transactions(world)
    assert shown[3]["metadata"] == {"entry_kind": "refund", "task_id": "task_1"}
    assert shown[3]["description"] == "blurred"
    assert shown[-1]["metadata"] == {"entry_kind": "grant", "ends_at": "2026-12-24T09:30:00Z"}
    assert shown[-1]["created_at"] == "2026-11-24T09:30:00Z"


async def test_limit_and_cursor_are_passed_on(world: World, native: Native) -> None:
    answer = await ask(world, "/wallet/transactions", "limit=10&cursor=9")
    assert native.asked == [("GET", f"{CREDITS}/history", "limit=10&cursor=9")]
    assert answer.json["data"]["next_cursor"] == "7"


async def test_a_refusal_has_the_form_of_the_surface(world: World, native: Native) -> None:
    details = {"field": "cursor"}
    refusal = {"error": "invalid_cursor", "message": "Not so.", "details": details}
    native.said[f"{CREDITS}/history"] = (422, refusal)
    answer = await ask(world, "/wallet/transactions", "cursor=x")
    assert answer.status == 422
    assert answer.json == {
        "success": False,
        "error": {
            "code": "HTTP_422",
            "message": "cursor: Not so.",
            "type": "HTTPException",
        },
    }


@pytest.mark.parametrize("path", ["/wallet", "/wallet/transactions"])
async def test_is_for_signed_in_people_alone(world: World, native: Native, path: str) -> None:
    for headers in ([], [api_key(world.key())]):
        answer = await world.ask("GET", path, headers)
        assert (answer.status, answer.json["error"]["code"]) == (401, "HTTP_401")
    assert native.asked == []


async def test_the_document_describes_both_routes(world: World) -> None:
    paths = (await world.ask("GET", "/openapi.json")).json["paths"]
    asked = paths["/wallet/transactions"]["get"]["parameters"]
    assert [(one["name"], one["in"]) for one in asked] == [("limit", "query"), ("cursor", "query")]
    for path in ("/wallet", "/wallet/transactions"):
        schema = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"]
