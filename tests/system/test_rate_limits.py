"""The limits that hold where nothing is said of them, as clients of two surfaces meet them."""

import re
from pathlib import Path

import httpx
import pytest

from tests.system.product import V2, Product, new_user, running
from tests.system.test_walkthrough import needs_curl, walk

STANDING = re.compile(r'"(?P<name>[a-z]+)";r=(?P<left>\d+);t=(?P<wait_s>\d+)')
AUTH = GENERATION = 10


def standing(answer: httpx.Response) -> tuple[str, int]:
    """The class in which it was counted, and what is left of it; all headers agree."""
    found = STANDING.fullmatch(answer.headers["RateLimit"])
    assert found is not None
    limit, left = (int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining"))
    assert answer.headers["RateLimit-Policy"].startswith(f'"{found["name"]}";q={limit};w=')
    assert left == int(found["left"])
    assert int(answer.headers["X-RateLimit-Reset"]) > 1_700_000_000
    if answer.status_code == 429:
        assert int(answer.headers["Retry-After"]) >= int(found["wait_s"])
    return found["name"], left


@needs_curl
@pytest.mark.parametrize("own_product", ["separate"], indirect=True)
def test_standard_limits_let_the_walk_through_pass_and_hold_on_both_surfaces(
    own_product: Product, tmp_path: Path
) -> None:
    own_product.settings = {**own_product.settings, "RATE_LIMITS": ""}
    with running(own_product) as product:
        walked = walk(product, tmp_path)
        assert walked.returncode == 0, walked.stdout + walked.stderr
        _generation_is_held(product)
        _signing_in_is_held(product, asked_already=4)
        with product.client() as anonymous:
            assert all(anonymous.get("/readyz").is_success for _ in range(AUTH + 1))


def _generation_is_held(product: Product) -> None:
    with new_user(product) as user:
        answers = [user.client.post(f"{V2}/generate", json={}) for _ in range(GENERATION + 1)]
        assert [answer.status_code for answer in answers] == [422] * GENERATION + [429]
        left = [*range(GENERATION - 1, -1, -1), 0]
        assert [standing(answer) for answer in answers] == [("generation", one) for one in left]
        refused = answers[-1].json()
        assert refused["error"] == "rate_limited"
        assert refused["details"] == {"class": "generation", "limit": GENERATION, "period_s": 60}
        other = user.client.get(f"{V2}/tasks", headers={"X-Forwarded-For": "198.51.100.1"})
        assert (other.status_code, standing(other)[0]) == (200, "api")


def _signing_in_is_held(product: Product, asked_already: int) -> None:
    """No client makes up an address of its own, not even one that asks from this machine."""
    wrong = {"email": "nobody@example.com", "password": "wrong password"}
    with product.client() as anonymous:
        answers = [
            anonymous.post(
                "/auth/login", json=wrong, headers={"X-Forwarded-For": f"198.51.100.{number}"}
            )
            for number in range(AUTH - asked_already + 1)
        ]
    assert [answer.status_code for answer in answers] == [401] * (AUTH - asked_already) + [429]
    assert {standing(answer)[0] for answer in answers} == {"auth"}
    assert answers[-1].json() == {
        "success": False,
        "error": {
            "code": "HTTP_429",
            "message": answers[-1].json()["error"]["message"],
            "type": "HTTPException",
        },
    }
    assert "in 60 s" in answers[-1].json()["error"]["message"]
