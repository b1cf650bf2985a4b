"""One generation across its services, whatever the bus repeats, delays or swaps."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.projections import verify
from services.credits.app import AGGREGATES as CREDITS
from services.credits.read_model import Balance
from services.generation.app import AGGREGATES as GENERATION
from tests.generation.conftest import until
from tests.saga.conftest import GRANT_UNITS, Start, Together

HD = {"resolution": "1024x576"}
HD_UNITS = 15_000
ENDED = {"completed", "failed", "cancelled"}


async def ended_and_quiet(together: Together) -> None:
    """Wait until every task has ended and nothing is on its way."""

    async def is_so() -> bool:
        stages = set((await together.stages()).values())
        return stages <= ENDED and await together.is_quiet()

    await until(is_so)


async def all_adds_up(together: Together) -> None:
    """No dead letter, each head is the fold of its events, each hold has ended exactly once."""
    database = together.platform.database
    assert await together.parked() == []
    assert await verify(database, "credits", CREDITS) == []
    assert await verify(database, "generation", GENERATION) == []
    holds = await together.rows(
        "SELECT count(*) FILTER (WHERE type = 'HoldPlaced') AS placed,"
        " count(*) FILTER (WHERE type IN ('HoldCommitted', 'HoldReleased')) AS ended"
        " FROM credits.events WHERE stream_id LIKE 'hold-%' GROUP BY stream_id"
    )
    assert all(hold["placed"] == hold["ended"] <= 1 for hold in holds), holds
    entries = await together.rows("SELECT * FROM credits_read.credit_transactions")
    assert all(e["granted_after"] - e["used_after"] - e["held_after"] >= 0 for e in entries)


@pytest.mark.parametrize(("seed", "copies"), [(0, 1), (1, 2), (2, 3), (3, 3)])
async def test_mischief_on_the_bus_changes_neither_how_tasks_end_nor_what_they_cost(
    start: Start, seed: int, copies: int
) -> None:
    async with start(seed=seed, copies=copies) as together:
        await together.register()
        prompts = ("makes", "fails", "slow", "makes two")
        wanted: list[dict[str, Any]] = [HD, HD, HD, {**HD, "num_images": 2}]
        answers = await asyncio.gather(
            *(together.create(p, **o) for p, o in zip(prompts, wanted, strict=True))
        )
        assert [answer.status_code for answer in answers] == [201] * 4
        makes, fails, slow, two = (answer.json()["task"]["id"] for answer in answers)
        assert (await together.call("DELETE", f"/tasks/{slow}")).status_code == 200
        await ended_and_quiet(together)
        assert await together.stages() == {
            makes: "completed",
            fails: "failed",
            slow: "cancelled",
            two: "completed",
        }
        assert await together.balance() == Balance(GRANT_UNITS, 3 * HD_UNITS, 0)
        assert together.vendor.prompts.count("makes") == 1
        assert together.vendor.prompts.count("makes two") == 2
        await all_adds_up(together)


@settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1), copies=st.integers(1, 3))
async def test_whatever_is_repeated_and_swapped_a_task_ends_the_same(
    start: Start, seed: int, copies: int
) -> None:
    async with start(seed=seed, copies=copies) as together:
        await together.register()
        created = (await together.create("makes", **HD)).json()["task"]["id"]
        await ended_and_quiet(together)
        assert (await together.stages())[created] == "completed"
        assert await together.balance() == Balance(GRANT_UNITS, HD_UNITS, 0)
        await all_adds_up(together)


async def test_more_tasks_than_credits_are_declined_one_by_one(start: Start) -> None:
    async with start(seed=4, copies=2) as together:
        await together.register()
        answers = await asyncio.gather(*(together.create("makes", **HD) for _ in range(9)))
        statuses = sorted(answer.status_code for answer in answers)
        await ended_and_quiet(together)
        spent = statuses.count(201) * HD_UNITS
        assert set(statuses) == {201, 402}
        assert await together.balance() == Balance(GRANT_UNITS, spent, 0)
        assert GRANT_UNITS - spent < HD_UNITS
        await all_adds_up(together)


async def test_a_task_of_an_account_that_is_not_known_yet_completes_once_it_is(
    start: Start,
) -> None:
    async with start() as together:
        creating = asyncio.create_task(together.create("makes", **HD))
        await until(together.stages)
        ledger = "SELECT 1 FROM credits.events WHERE stream_id NOT LIKE 'plan-%'"
        assert await together.rows(ledger) == []
        await together.register()
        assert (await creating).status_code == 201
        await ended_and_quiet(together)
        assert await together.balance() == Balance(GRANT_UNITS, HD_UNITS, 0)
        await all_adds_up(together)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_reservation_that_comes_after_its_task_was_given_up_holds_nothing(
    start: Start, *, newest_first: bool
) -> None:
    """The ledger hears the task and its end late, in either order."""
    async with start(reserve_timeout_s=0.1) as together:
        await together.register()
        await until(lambda: together.rows("SELECT 1 FROM credits_read.credits_balances"))
        together.bus.held.add("credits")
        answer = await together.create("makes", **HD)
        assert (answer.status_code, answer.json()["error"]) == (503, "credits_unavailable")
        await until(lambda: _waits(together, 2))
        await together.bus.let_go(newest_first=newest_first)
        await ended_and_quiet(together)
        assert list((await together.stages()).values()) == ["failed"]
        assert await together.balance() == Balance(GRANT_UNITS, 0, 0)
        assert together.vendor.prompts == []
        await all_adds_up(together)


async def test_tasks_that_are_cancelled_at_once_cost_nothing(start: Start) -> None:
    async with start(seed=5, copies=3) as together:
        await together.register()

        async def create_and_cancel() -> int:
            task_id = (await together.create("slow", **HD)).json()["task"]["id"]
            return (await together.call("DELETE", f"/tasks/{task_id}")).status_code

        assert await asyncio.gather(*(create_and_cancel() for _ in range(6))) == [200] * 6
        await ended_and_quiet(together)
        assert set((await together.stages()).values()) == {"cancelled"}
        assert await together.balance() == Balance(GRANT_UNITS, 0, 0)
        await all_adds_up(together)


async def _waits(together: Together, count: int) -> bool:
    return len(together.bus.waiting) >= count


async def test_what_was_not_said_when_its_process_ended_is_said_by_the_next(start: Start) -> None:
    """The first process makes the picture, and ends before storage has heard of it."""
    async with start() as first:
        first.bus.refused.add("OutputProduced")
        await first.register()
        assert (await first.create("makes", **HD)).status_code == 201
        await until(
            lambda: first.rows(
                "SELECT 1 FROM generation.outbox WHERE envelope->>'type' = 'OutputProduced'"
            )
        )
    async with start(who=first.who) as second:
        assert await second.balance() == Balance(GRANT_UNITS, 0, HD_UNITS)
        await ended_and_quiet(second)
        assert list((await second.stages()).values()) == ["completed"]
        assert await second.balance() == Balance(GRANT_UNITS, HD_UNITS, 0)
        assert second.vendor.prompts == []
        await all_adds_up(second)
