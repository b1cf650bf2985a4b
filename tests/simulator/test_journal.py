import json
from pathlib import Path
from typing import Any

from services.simulator.adapters.journal import Bounds, Journal
from services.simulator.domain.commissions import Picture
from services.simulator.domain.jobs import Job, Outcome

DAY_MS = 86_400_000


def job(name: str, created_ms: int = 1_000) -> Job:
    return Job(name, "kie", "k", "m", "{}", Picture("p", 1, 8, 8, "png"), 18, created_ms)


def opened(path: Path, now_ms: int = 2_000, jobs: int = 100) -> Journal:
    journal = Journal(path, Bounds(jobs, 10, DAY_MS))
    journal.open(now_ms)
    return journal


async def test_a_restarted_vendor_still_knows_jobs_bills_and_what_was_asked(vendor: Any) -> None:
    async with vendor() as kie:
        task = await kie.created("a cat")
        done = await kie.done(task)
        asked = await kie.asked()
    async with vendor() as kie:
        again = await kie.done(task)
        link = json.loads(again["resultJson"])["resultUrls"][0]
        assert again["completeTime"] == done["completeTime"]
        assert (await kie.http.get(link)).content[:4] == b"\x89PNG"
        assert [one["task_id"] for one in await kie.asked()] == [one["task_id"] for one in asked]
        (bill,) = (await kie.http.get("/_bill")).json()["bills"]
        assert bill["charged_credits"] == 18


async def test_a_job_that_was_being_drawn_is_drawn_after_the_restart(vendor: Any) -> None:
    async with vendor() as kie:
        task = await kie.created("a forest", resolution="2K")
        assert (await kie.look(task))["data"]["state"] != "success"
    async with vendor() as kie:
        assert (await kie.done(task))["state"] == "success"


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = opened(path)
    first.accept(job("a"))
    first.close()
    with path.open("a") as file:
        file.write('{"fact":"accepted","job":{"task_')
    again = opened(path)
    assert list(again.jobs) == ["a"]
    again.accept(job("b"))
    again.close()
    third = opened(path)
    assert list(third.jobs) == ["a", "b"]
    third.close()


def test_forgets_the_oldest_jobs_but_not_what_they_cost(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = opened(path, jobs=2)
    for name in ("a", "b", "c"):
        journal.accept(job(name))
        journal.finish(Outcome(name, 1_500, 5))
    assert [gone.task_id for gone in journal.forget_old(2_000)] == ["a"]
    journal.close()
    again = opened(path, jobs=2)
    assert list(again.jobs) == ["b", "c"]
    assert again.bill("kie", "k").charged_credits == 54
    again.close()


def test_forgets_what_is_older_than_a_day(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.jsonl")
    journal.accept(job("a"))
    assert len(journal.forget_old(DAY_MS + 1_001)) == 1
    assert not journal.jobs
    journal.close()


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = opened(path, jobs=1)
    most = 0
    for n in range(9_000):
        journal.ask({"n": n, "task_id": ""})
        most = max(most, n)
    lines = len(path.read_text().splitlines())
    journal.close()
    assert lines < 4_200
    assert most == 8_999
