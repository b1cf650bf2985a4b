"""A refused prompt through the edge: what its user is told, and what does not happen."""

import pytest

from kernel.clock import new_id
from tests.system.product import V2, Product, User

SURFACES = [
    (f"{V2}/generate", {"model_id": "nano-banana-pro"}),
    ("/v1/generate", {}),
]


@pytest.mark.parametrize(("path", "fields"), SURFACES, ids=[path for path, _ in SURFACES])
def test_a_refused_prompt_costs_nothing_and_is_kept_nowhere(
    product: Product, user: User, path: str, fields: dict[str, str]
) -> None:
    canary = f"canary-{new_id().hex}"
    before = user.balance()

    answer = user.client.post(path, json={**fields, "prompt": f"g.o.r.e, {canary}"})

    assert answer.status_code == 422
    assert canary not in answer.text
    assert user.balance() == before
    assert user.tasks() == []
    assert canary not in product.words()


def test_a_refusal_names_its_rule(user: User) -> None:
    body = {"model_id": "nano-banana-pro", "prompt": "g.o.r.e"}
    answer = user.client.post(f"{V2}/generate", json=body)
    said = answer.json()
    assert (answer.status_code, said["error"]) == (422, "prompt_rejected")
    assert said["details"] == {"category": "violence_graphic", "rule": "gore"}
    assert said["message"]
