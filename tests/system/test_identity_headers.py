"""Who calls is what the gateway says in its token: no header of a client, and nothing unsigned."""

from collections.abc import Iterator

import httpx
import psutil
import pytest

from kernel.clock import new_id
from kernel.http.identity import HEADER
from kernel.runtime import QUIET_PORTS
from tests.system.product import V2, Product, User, new_user
from tests.system.test_replicas import internal_token
from tests.system.test_routes import PARAMETER, operations

INNER = ("keys", "credits", "generation", "storage")
OPEN = {
    *("/livez", "/readyz", "/metrics", "/openapi.json"),
    *("/media/{key}", "/api/v2/generation/callbacks/{provider}/{token}"),
}
"""The last two are answered by their signature alone."""


def forged(victim: str) -> dict[str, str]:
    """What a client may hope that somebody believes."""
    names = ("X-User-Id", "X-Account-Id", "X-Forwarded-User", "X-Key-Id", "X-Remote-User")
    return {**dict.fromkeys(names, victim), "X-Role": "admin", "X-Scopes": "admin"}


def test_identity_headers_of_a_client_change_nothing(product: Product, user: User) -> None:
    with new_user(product) as victim:
        tokens = {"garbage": "e30.e30.e30", "right": internal_token(product, victim)}
        with product.client(Authorization=f"Bearer {victim.token}") as client:
            victim_id = client.get("/auth/me").json()["data"]["id"]
        task = victim.generate("[[sim:canned]] not yours")["id"]
        for token in tokens.values():
            headers = {**forged(victim_id), HEADER: token}
            answer = user.client.get(f"{V2}/tasks", headers=headers)
            assert (answer.status_code, answer.json()["tasks"]) == (200, [])
            assert user.client.get(f"{V2}/tasks/{task}", headers=headers).status_code == 404
            assert user.client.get("/api/admin/users", headers=headers).status_code == 401
            with product.client(**headers) as nobody:
                assert nobody.get(f"{V2}/tasks").status_code == 401
            with product.client(Authorization=f"Bearer {user.token}", **headers) as client:
                assert client.get("/api/admin/users").status_code == 403
                assert client.get("/auth/me").json()["data"]["email"] == user.email


def services(product: Product) -> Iterator[tuple[str, str]]:
    """The name and the address of each process behind the gateway."""
    for child in psutil.Process(product.process.pid).children():
        module = child.cmdline()[-1]
        name = module.removeprefix("services.")
        if module.startswith("services.") and name in INNER:
            port = child.environ()["PORT"]
            assert int(port) in QUIET_PORTS
            yield name, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("product", ["separate"], indirect=True)
def test_a_service_asked_past_the_gateway_answers_nobody(product: Product, user: User) -> None:
    asked: dict[str, int] = dict.fromkeys(INNER, 0)
    credentials = {"X-API-Key": user.key, "Authorization": f"Bearer {user.token}"}
    for name, url in services(product):
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            document = client.get("/openapi.json").raise_for_status().json()
            for method, path, _ in operations(document):
                if path in OPEN:
                    continue
                asked[name] += 1
                filled = PARAMETER.sub(new_id().hex, path)
                for headers in ({}, forged(new_id().hex) | credentials, {HEADER: "e30.e30.e30"}):
                    answer = client.request(method, filled, headers=headers)
                    assert answer.status_code == 401, (name, method, path, answer.text)
    assert all(asked.values()), asked
