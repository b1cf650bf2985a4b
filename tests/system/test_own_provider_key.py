"""A user's own provider key over HTTP: the vendor sees it, and the task costs a fifth."""

import hashlib
from typing import Any

import httpx

from kernel.clock import new_id
from tests.system.product import V2, Product, User

SIZE = {"resolution": "1024x576"}
PATH = "/api/keys/providers"
PLATFORM_KEY = "sandbox"


def digest(key: str) -> str:
    """What the simulator remembers of a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def keys_heard(product: Product, prompt: str) -> set[str]:
    """With which keys the vendor was asked for `prompt`, as digests."""
    port = (product.home / "simulator" / "port").read_text()
    answer = httpx.get(f"http://127.0.0.1:{port}/_journal", trust_env=False).raise_for_status()
    return {entry["key"] for entry in answer.json()["asked"] if entry["prompt"] == prompt}


def completed(user: User, prompt: str) -> dict[str, Any]:
    task = user.generate(prompt, **SIZE)
    done = user.wait(task["id"])
    assert done["status"] == "completed", done
    return {**done, "credits_reserved": task["credits_reserved"]}


def test_a_task_under_ones_own_key_costs_a_fifth_and_the_vendor_sees_that_key(
    product: Product, user: User
) -> None:
    own_key, prompt = f"kie-{new_id().hex}", f"[[sim:canned]] {new_id().hex}"
    with product.client(Authorization=f"Bearer {user.token}") as me:
        assert me.put(f"{PATH}/kie", json={"api_key": own_key}).status_code == 204
        [listed] = me.get(PATH).json()["provider_keys"]
        assert (listed["provider"], listed["last_four"]) == ("kie", own_key[-4:])

        asked = {"model_id": "nano-banana-pro", "options": SIZE}
        estimate = user.client.post(f"{V2}/estimate", json=asked).json()
        assert (estimate["credits"], estimate["breakdown"]["own_key"]) == (0.3, True)
        done = completed(user, f"{prompt} mine")
        assert (done["credits_reserved"], done["credits_used"]) == (0.3, 0.3)
        assert keys_heard(product, f"{prompt} mine") == {digest(own_key)}
        assert user.balance()["available_credits"] == 99.7

        assert me.delete(f"{PATH}/kie").status_code == 204
        assert me.delete(f"{PATH}/kie").status_code == 404
    done = completed(user, f"{prompt} the platform's")
    assert (done["credits_reserved"], done["credits_used"]) == (1.5, 1.5)
    assert keys_heard(product, f"{prompt} the platform's") == {digest(PLATFORM_KEY)}
    assert own_key not in product.words()


def test_provider_keys_are_for_signed_in_people_and_known_providers(
    product: Product, user: User
) -> None:
    assert user.client.get(PATH).status_code == 401, "no API key does"
    with product.client(Authorization=f"Bearer {user.token}") as me:
        wrong = me.put(f"{PATH}/kie", json={"api_key": "too short"})
        assert (wrong.status_code, wrong.json()["details"]["fields"][0]["field"]) == (
            422,
            "api_key",
        )
        unknown = me.put(f"{PATH}/openai", json={"api_key": "0123456789abcdef"})
        assert (unknown.status_code, unknown.json()["details"]["fields"][0]["field"]) == (
            422,
            "provider",
        )
        assert me.post(PATH).status_code == 405, "it is no key called providers"
        body = {"user_id": str(new_id()), "provider": "kie"}
        assert me.post("/internal/provider-keys/resolve", json=body).status_code == 404
