"""Planted faults prove that the checker sees; a clean history proves that it sees no ghosts."""

import json
from dataclasses import replace

import pytest

from kernel.clock import new_id
from services.storage.domain import thumbnail_key
from tests.campaign.conftest import Spoilable
from tests.campaign.final_reads import Told
from tests.campaign.invariants import Violation
from tests.campaign.planted import FAULTS


def named(found: list[Violation], invariant: int, subject: str) -> bool:
    return any(v.invariant == invariant and v.subject.startswith(subject) for v in found)


async def test_finds_nothing_in_a_clean_history(spoilable: Spoilable) -> None:
    assert await spoilable.violations() == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_names_the_invariant_that_a_planted_fault_breaks(
    spoilable: Spoilable, fault: str
) -> None:
    invariant, subject, *statements = FAULTS[fault]
    await spoilable.spoil(*statements)
    found = await spoilable.violations()
    assert named(found, invariant, subject), found


async def test_finds_a_lost_file(spoilable: Spoilable) -> None:
    picture = next(spoilable.world.objects_root.glob("images/generated/*/*"))
    picture.unlink()
    found = await spoilable.violations()
    assert [(v.invariant, v.words.split()[-3:]) for v in found] == [(4, ["is", "not", "there"])]


async def test_finds_a_changed_file(spoilable: Spoilable) -> None:
    picture = next(spoilable.world.objects_root.glob("images/generated/*/*"))
    picture.write_bytes(picture.read_bytes() + b"x")
    assert [v.invariant for v in await spoilable.violations()] == [4]


async def test_finds_a_lost_thumbnail(spoilable: Spoilable) -> None:
    tasks = spoilable.world.told.accepted.values()
    thumbnails = [spoilable.world.objects_root / thumbnail_key(task, 0) for task in tasks]
    next(path for path in thumbnails if path.exists()).unlink()
    assert [v.invariant for v in await spoilable.violations()] == [4]


async def test_finds_an_order_that_was_placed_twice(spoilable: Spoilable) -> None:
    journal = spoilable.world.journal
    facts = [json.loads(line) for line in journal.read_text().splitlines()]
    order = next(fact for fact in facts if fact["fact"] == "asked" and fact["entry"]["task_id"])
    order["entry"]["task_id"] = "a second job"
    with journal.open("a") as file:
        file.write(json.dumps(order) + "\n")
    assert {v.invariant for v in await spoilable.violations()} == {6}


async def test_finds_a_job_that_the_vendor_never_took(spoilable: Spoilable) -> None:
    spoilable.world.journal.write_text("")
    assert {v.invariant for v in await spoilable.violations()} == {6}


async def test_reads_past_a_torn_last_line_of_the_journal(spoilable: Spoilable) -> None:
    with spoilable.world.journal.open("a") as file:
        file.write('{"fact": "asked", "ent')
    assert await spoilable.violations() == []


async def test_finds_an_answer_that_names_another_task(spoilable: Spoilable) -> None:
    told = spoilable.world.told
    request, *_ = told.accepted
    elsewhere = replace(told, accepted={**told.accepted, request: new_id()})
    assert named(await spoilable.violations(elsewhere), 5, f"request {request}")


async def test_finds_a_task_of_a_refused_request(spoilable: Spoilable) -> None:
    told = spoilable.world.told
    refused = Told({}, refused=frozenset(told.accepted))
    assert {v.invariant for v in await spoilable.violations(refused)} == {5}


async def test_finds_a_task_that_nobody_asked_for(spoilable: Spoilable) -> None:
    assert {v.invariant for v in await spoilable.violations(Told({}))} == {5}


async def test_takes_a_lost_answer_either_way(spoilable: Spoilable) -> None:
    told = spoilable.world.told
    lost = Told({}, unknown=frozenset({*told.accepted, "never arrived"}))
    assert await spoilable.violations(lost) == []
