"""What the owner of a key sees of its use, however the product runs."""

import httpx

from tests.system.product import V2, Product, User, new_user, running, wait_until

AGENT = {"User-Agent": "a script of mine/1"}


def listed(product: Product, user: User) -> dict[str, object]:
    """The user's only key, as it is shown."""
    with product.client(Authorization=f"Bearer {user.token}") as client:
        (key,) = client.get("/api/keys").raise_for_status().json()["keys"]
    return dict(key)


def dry_run(product: Product, user: User, key_id: object) -> httpx.Response:
    with product.client(Authorization=f"Bearer {user.token}") as client:
        return client.post(f"/api/keys/{key_id}/revoke?dry_run=true").raise_for_status()


def test_who_would_revoke_a_key_sees_who_uses_it(product: Product, user: User) -> None:
    for _ in range(2):
        user.client.get(f"{V2}/tasks", headers=AGENT).raise_for_status()
    key_id = listed(product, user)["id"]

    def uses() -> list[dict[str, object]]:
        told = dry_run(product, user, key_id).json()["usage"]["recent"]
        return [use for use in told if use["agent"] == AGENT["User-Agent"]]

    wait_until(lambda: sum(int(str(use["requests"])) for use in uses()) == 2)
    assert [use["address"] for use in uses()] == ["127.0.0.1"]
    assert listed(product, user)["last_used_at"] is not None


def test_a_use_just_before_the_end_is_not_lost(embedded_product: Product) -> None:
    with running(embedded_product) as product, new_user(product) as user:
        user.client.get(f"{V2}/tasks", headers=AGENT).raise_for_status()
        key_id = listed(product, user)["id"]
        status, _ = product.interrupt()
        assert status == 0, product.words()
        product.start()
        recent = dry_run(product, user, key_id).json()["usage"]["recent"]
        assert AGENT["User-Agent"] in [use["agent"] for use in recent]
