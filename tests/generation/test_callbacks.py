"""Vendors' callbacks: who knows the address makes the next look come sooner, and no more."""

from datetime import timedelta

import pytest

from kernel.clock import new_id
from services.generation.adapters.callbacks import Callbacks
from services.generation.api import Hints
from tests.generation.conftest import Bench, Generation

SECRET, FORMER = b"a secret of tests, and of nothing else", b"the one before, which was in use then"


def test_a_token_opens_its_job_at_its_provider_alone() -> None:
    callbacks, job_id = Callbacks(SECRET, "https://smartspec.test"), new_id()
    token = callbacks.token("kie", job_id)
    assert callbacks.job_of("kie", token) == job_id
    assert callbacks.job_of("google", token) is None
    for wrong in ("", "x", token[:-1], token + "A", f"B{token[1:]}", "é" * 54, "A" * 54, token * 9):
        assert callbacks.job_of("kie", wrong) is None


def test_a_token_outlives_a_change_of_the_secret() -> None:
    job_id = new_id()
    token = Callbacks(FORMER, "").token("kie", job_id)
    assert Callbacks(SECRET, "", [FORMER]).job_of("kie", token) == job_id
    assert Callbacks(SECRET, "").job_of("kie", token) is None


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "https://smartspec.test/"])
def test_vendors_are_given_an_address_where_they_can_call_it(base: str) -> None:
    url = Callbacks(SECRET, base).url("kie", new_id())
    assert (url is not None) == base.startswith("https")
    assert url is None or url.startswith("https://smartspec.test/api/v2/generation/callbacks/kie/")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Callbacks(b"short", "https://smartspec.test")


async def test_a_call_makes_the_next_look_due_now_and_says_nothing(bench: Bench) -> None:
    task = await bench.task()
    await bench.attend()
    [asked] = bench.provider.asked
    assert asked.callback_url is not None
    provider, token = asked.callback_url.split("/")[-2:]
    woken: list[bool] = []
    callbacks = Callbacks(SECRET, "https://smartspec.test")
    hints = Hints(callbacks, bench.due, bench.clock, lambda: woken.append(True))
    assert await bench.attend() == 0
    before = await bench.events(task)
    for _ in range(3):
        await hints.hear(provider, token)
    assert await bench.attend() == 1
    assert await bench.events(task) == before
    assert len(woken) == 3


async def test_a_call_for_a_job_that_has_ended_changes_nothing(bench: Bench) -> None:
    task = await bench.task()
    await bench.attend()
    await bench.rows("UPDATE generation.provider_jobs SET state = 'done'")
    before = await bench.job_rows(task)
    await bench.due.look_now(before[0]["job_id"], "kie", bench.clock.now() - timedelta(hours=1))
    assert await bench.job_rows(task) == before


async def test_answers_at_once_and_to_nobody_else(generation: Generation) -> None:
    secret = generation.platform.encryption.derived_secret("callbacks")
    token = Callbacks(secret, "").token("kie", new_id())
    for body in (None, {"code": 200, "data": {"state": "success"}}, "nonsense"):
        answer = await generation.call("POST", f"/callbacks/kie/{token}", None, body)
        assert (answer.status_code, answer.content) == (202, b"")
    for path in (f"/callbacks/google/{token}", f"/callbacks/kie/B{token[1:]}"):
        assert (await generation.call("POST", path, None)).status_code == 404
