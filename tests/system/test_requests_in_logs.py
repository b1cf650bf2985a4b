import re
from dataclasses import dataclass

import httpx
import pytest

from kernel.clock import new_id
from tests.system.conftest import BOTH_MODES
from tests.system.product import PASSWORD, V2, Product, User, new_user, wait_until
from tests.system.whole_life import whole_life

pytestmark = BOTH_MODES

WORKER = "services.generation.adapters.provider_jobs"
TABLES = r"""
    SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
        AND schemaname NOT LIKE 'pg\_temp\_%'
"""


def services_named(product: Product, request_id: str) -> set[str]:
    return {line["service"] for line in product.log() if line.get("request_id") == request_id}


def test_one_requests_id_is_in_the_log_of_every_service_that_it_touches(
    product: Product, user: User
) -> None:
    request_id = f"test-{new_id().hex}"
    answer = user.client.post(
        f"{V2}/generate",
        json={"model_id": "nano-banana-pro", "prompt": "[[sim:canned]] a trail"},
        headers={"X-Request-ID": request_id},
    )
    assert answer.headers["X-Request-ID"] == request_id
    assert user.wait(answer.json()["task"]["id"])["status"] == "completed"

    wanted = {"gateway", "generation", "credits", "storage"}
    wait_until(lambda: wanted <= services_named(product, request_id))
    of_request = [line for line in product.log() if line.get("request_id") == request_id]
    assert any(line["logger"] == WORKER for line in of_request)
    heard = {line.get("message_type") for line in of_request}
    assert {"TaskCreated", "CreditsReserved", "OutputProduced", "OutputStored"} <= heard


def test_gives_a_request_without_an_id_one_of_its_own(product: Product, user: User) -> None:
    made = user.client.get(f"{V2}/credits").headers["X-Request-ID"]
    asked_badly = user.client.get(f"{V2}/credits", headers={"X-Request-ID": "no good\tid"})
    assert re.fullmatch(r"req_[0-9a-f]{32}", made)
    assert re.fullmatch(r"req_[0-9a-f]{32}", asked_badly.headers["X-Request-ID"])
    assert services_named(product, made) >= {"gateway", "credits"}


@dataclass(frozen=True)
class Canaries:
    """What must be written nowhere that is kept; `words` are the texts that were sent."""

    words: dict[str, str]

    def found_in(self, text: str) -> list[str]:
        lowered = text.lower()
        return [name for name, word in self.words.items() if word.lower() in lowered]


@pytest.fixture(scope="module")
def canaries(product: Product) -> Canaries:
    """Secrets and texts of a user, each sent in every place where a client may put it."""
    prompt = f"canary-{new_id().hex}"
    with new_user(product) as user:
        words = {
            "e-mail": user.email,
            "password": f"{PASSWORD} {new_id().hex}",
            "key": user.key,
            "token": user.token,
            "prompt": prompt,
        }
        task = user.generate(f"[[sim:canned]] {prompt}", key=new_id().hex)
        user.wait(task["id"])
        failing = user.generate(f"[[sim:fail]] {prompt}")
        user.wait(failing["id"])
        _send_badly(product, user, words)
        wait_until(lambda: user.balance()["reserved_credits"] == 0)
    return Canaries(words | whole_life(product))


def _send_badly(product: Product, user: User, words: dict[str, str]) -> None:
    everything = dict(words)
    with product.client() as anonymous:
        login = {"email": user.email, "password": words["password"]}
        assert anonymous.post("/auth/login", json=login).status_code == 401
        assert anonymous.post("/auth/register", json=login).status_code == 409
        assert anonymous.post("/auth/login", json=everything).status_code == 422
        for name in ("key", "token"):
            word = words[name]
            assert anonymous.get(f"{V2}/tasks/{word}", params={"key": word}).status_code == 401
            _refused(user.client.get(f"{V2}/tasks/{word}"))
            _refused(user.client.get(f"{V2}/tasks", params={"cursor": word}))
    _refused(user.client.post(f"{V2}/generate", json=everything))
    _refused(user.client.post(f"{V2}/generate", content=str(everything).encode()))
    too_long = words["prompt"] * 400
    _refused(
        user.client.post(f"{V2}/generate", json={"model_id": words["prompt"], "prompt": too_long})
    )


def _refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, answer.text


def test_writes_no_secret_and_no_text_of_a_user_into_its_log(
    product: Product, canaries: Canaries
) -> None:
    assert canaries.found_in(product.words()) == []


def test_keeps_no_secret_and_no_text_of_a_user_in_plain_in_any_table(
    product: Product, canaries: Canaries
) -> None:
    names = [row["name"] for row in product.rows(TABLES)]
    assert {"credits.events", "generation.outbox", "storage.inbox"} <= set(names)
    found = {
        name: words
        for name in names
        if (words := canaries.found_in("\n".join(_texts(product, name))))
    }
    assert found == {}


def test_keeps_no_secret_in_any_file_but_the_mail_that_brings_it(
    product: Product, canaries: Canaries
) -> None:
    """The simulator's files are a vendor's, who is told the prompt; tables are looked at above."""
    others = [product.home / name for name in ("mail", "postgres", "simulator")]
    kept = [
        path
        for path in product.home.rglob("*")
        if path.is_file() and not any(other in path.parents for other in others)
    ]
    assert kept, "its own secrets, and objects"
    found = {
        str(path): words
        for path in kept
        if (words := canaries.found_in(path.read_bytes().decode("latin-1")))
    }
    assert found == {}


def _texts(product: Product, table: str) -> list[str]:
    return [row["text"] for row in product.rows(f"SELECT row::text AS text FROM {table} AS row")]
