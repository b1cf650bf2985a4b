"""Through the edge: why a task was charged, and what proves the account that paid."""

from typing import Any

import pytest

from tests.system.product import V2, Product, User, new_user, wait_until

ON_A_SERVER_OF_ITS_OWN = pytest.mark.parametrize("product", ["memory"], indirect=True)
"""A transaction that lasts, in whichever database of a server, holds up the seals of all."""
IN_THIS_ORDER = ("Request", "TaskCreated", "CreditsReserved", "TaskCompleted", "CreditsCommitted")
SEALED_WITHIN_S = 30
"""The ledger is sealed each 5 s, up to where it was settled the time before."""


def explain(user: User, task_id: str) -> dict[str, Any]:
    return dict(user.client.get(f"{V2}/credits/explain/{task_id}").raise_for_status().json())


def proof(user: User) -> dict[str, Any]:
    return dict(user.client.get(f"{V2}/credits/proof").raise_for_status().json())


def test_a_charge_is_explained_and_proved(user: User) -> None:
    task_id = user.generate("[[sim:canned]] a cat in a hat")["id"]
    task = user.wait(task_id)
    assert task["status"] == "completed"
    wait_until(lambda: "CreditsCommitted" in str(explain(user, task_id)["steps"]))
    explanation = explain(user, task_id)
    assert (explanation["complete"], explanation["outcome"]) == (True, "completed")
    price = explanation["price"]
    assert (explanation["charged"], explanation["refunded"]) == (price, 0.0)
    assert price == task["credits_used"]
    steps = explanation["steps"]
    assert [one["type"] for one in steps if one["type"] in IN_THIS_ORDER] == list(IN_THIS_ORDER)
    happened = {one["type"]: one for one in steps}
    assert {one["request_id"] for one in steps} == {happened["Request"]["request_id"]}
    assert happened["TaskCompleted"]["facts"]["outcome"] == "completed"
    for effect, cause in (
        ("CreditsReserved", "TaskCreated"),
        ("TaskReserved", "CreditsReserved"),
        ("CreditsCommitted", "TaskCompleted"),
    ):
        assert happened[effect]["caused_by"] == happened[cause]["event_id"]
    assert "hat" not in str(explanation)

    (ending,) = proof(user)["endings"]
    assert (ending["task_id"], ending["ended_by"], ending["committed"]) == (
        *(task_id, "commit", price),
    )
    assert ending["hold_entry_id"] == happened["CreditsReserved"]["entry"]["id"]
    assert ending["ending_entry_id"] == happened["CreditsCommitted"]["entry"]["id"]
    account = proof(user)["account"]
    assert (account["used"], account["held"], account["entries"]) == (price, 0.0, 3)
    assert account["available"] == user.balance()["available_credits"]


@ON_A_SERVER_OF_ITS_OWN
def test_the_proof_names_the_head_of_the_chain(product: Product, user: User) -> None:
    task_id = user.generate("[[sim:canned]] a cat in a hat")["id"]
    user.wait(task_id)
    wait_until(lambda: bool(proof(user)["endings"]))
    (row,) = product.rows("SELECT max(position) AS last FROM credits.events")
    wait_until(lambda: proof(user)["chain"]["position"] >= row["last"], SEALED_WITHIN_S)
    chain = proof(user)["chain"]
    (seal,) = product.rows(
        "SELECT encode(head, 'hex') AS head, last_position FROM credits.seals WHERE seal_no = $1",
        chain["seal_no"],
    )
    assert (chain["head"], chain["position"]) == (seal["head"], seal["last_position"])


def test_nobody_elses_task_is_explained(product: Product, user: User) -> None:
    task_id = user.generate("[[sim:canned]] a cat in a hat")["id"]
    with new_user(product) as stranger:
        for one in (task_id, "task_x"):
            answer = stranger.client.get(f"{V2}/credits/explain/{one}")
            assert (answer.status_code, answer.json()["error"]) == (404, "task_not_found")
        assert proof(stranger)["endings"] == []
    with product.client() as anonymous:
        for path in ("proof", f"explain/{task_id}"):
            assert anonymous.get(f"{V2}/credits/{path}").status_code == 401
