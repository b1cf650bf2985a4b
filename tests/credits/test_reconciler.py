"""Open holds against live tasks: what differs is mended or said; what does not is left alone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from contracts.envelope import PublicEvent
from kernel.clock import new_id, uuid7
from kernel.event_store import EventStore
from kernel.http.identity import HEADER, SERVICE_ROLE
from kernel.http.peer import Peer
from kernel.projections import rebuild, verify
from kernel.service import Platform
from kernel.telemetry.metrics import REGISTRY
from services.credits.adapters import reconciler
from services.credits.adapters.differences import EVERY, KEPT_FOR, Differences, Found, Kind
from services.credits.adapters.generation_tasks import LIVE, LIVE_MAX, STATES, STATES_MAX
from services.credits.adapters.generation_tasks import GenerationTasks as Tasks
from services.credits.adapters.platform_accounts import PlatformSums, platform_sums
from services.credits.adapters.reconciler import (
    GRACE,
    OPEN_HOLDS,
    SUMS_EVERY,
    UNKNOWN_GRACE,
    Reconciler,
)
from services.credits.app import AGGREGATES
from services.credits.inbox import end_hold
from services.credits.read_model import READ_MODEL, Balance
from tests.credits.conftest import (
    GRANT_UNITS,
    Credits,
    completed,
    created,
    failed,
    registered,
)

PRICE = 15_000
MOMENT = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


@dataclass
class ToldGeneration:
    """Knows the tasks that it is told of, unless it is `away`; `on_states` happens before it
    answers what has become of them."""

    platform: Platform
    tasks: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    away: bool = False
    answer: Any = None
    on_states: Callable[[], Awaitable[object]] | None = None
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = self.platform.internal_tokens.read(request.headers.get(HEADER))
        assert caller.role == SERVICE_ROLE
        question = orjson.loads(await request.body())
        path = scope["path"]
        self.asked.append((path, question))
        response = JSONResponse(self.answer or self._told(path, question))
        if self.away:
            response = JSONResponse({}, 503)
        elif path == STATES and self.on_states is not None:
            await self.on_states()
        await response(scope, receive, send)

    def _told(self, path: str, question: Any) -> Any:
        if path == STATES:
            wanted = {UUID(text) for text in question["task_ids"]}
            told = {str(one): self.tasks[one] for one in wanted if one in self.tasks}
            return {"tasks": told}
        assert path == LIVE
        after = UUID(question["after"]) if question["after"] else UUID(int=0)
        live = sorted(one for one, task in self.tasks.items() if task["ended_at"] is None)
        page = [one for one in live if one > after][: question["limit"]]
        return {
            "tasks": [{"task_id": str(one), **self.tasks[one]} for one in page],
            "next": str(page[-1]) if len(page) == question["limit"] else None,
        }


@dataclass(frozen=True)
class Bench:
    """Credits with an account, and the reconciler, whose rounds are begun by hand."""

    credits: Credits
    generation: ToldGeneration
    reconciler: Reconciler
    account: UUID

    @property
    def store(self) -> EventStore:
        assert self.credits.service.store is not None
        return self.credits.service.store

    def another(self) -> Reconciler:
        """A replica's."""
        peer = Peer.here("generation", self.generation, self.credits.platform.internal_tokens)
        return Reconciler(self.store, Tasks(peer), end_hold)

    def id_of_age(self, age: timedelta) -> UUID:
        """That a task has which was created so long ago."""
        born = self.credits.clock.now() - age
        return uuid7(int(born.timestamp() * 1_000), 0, new_id().int)

    async def held(self, age: timedelta = HOUR, **limit: Any) -> UUID:
        """A task so old, whose hold is open."""
        task = self.id_of_age(age)
        await self.hear(created(self.account, task, PRICE, **limit))
        return task

    def lives(self, task: UUID, account: UUID | None = None) -> None:
        self.generation.tasks[task] = {
            "stage": "processing",
            "account_id": str(account or self.account),
            "price_units": PRICE,
            "charged_units": 0,
            "outcome": "",
            "ended_at": None,
            "since": self.credits.clock.now().isoformat(),
        }

    def ends(self, task: UUID, stage: str, charged_units: int = 0, ago: timedelta = HOUR) -> None:
        self.lives(task)
        self.generation.tasks[task] |= {
            "stage": stage,
            "charged_units": charged_units,
            "outcome": "completed" if stage == "completed" else "provider_failed",
            "ended_at": (self.credits.clock.now() - ago).isoformat(),
        }

    async def hear(self, *events: PublicEvent) -> None:
        await self.credits.hear(*events)

    async def round(self) -> bool:
        """The next one, a minute later."""
        self.credits.clock.turn(EVERY)
        return await self.reconciler.round_if_due()

    async def balance(self) -> Balance:
        return await self.credits.balance(self.account)

    async def differences(self) -> list[tuple[str, UUID, str | None, bool]]:
        """Kind, task, action and whether it is settled, the first found first."""
        rows = await self.credits.rows("SELECT * FROM credits.differences ORDER BY difference_id")
        return [
            (row["kind"], row["task_id"], row["action"], row["settled_at"] is not None)
            for row in rows
        ]


@pytest.fixture
async def bench(credits_service: Credits) -> Bench:
    platform = credits_service.platform
    generation = ToldGeneration(platform)
    peer = Peer.here("generation", generation, platform.internal_tokens)
    assert credits_service.service.store is not None
    reconciler = Reconciler(credits_service.service.store, Tasks(peer), end_hold)
    account = new_id()
    await credits_service.hear(registered(account))
    return Bench(credits_service, generation, reconciler, account)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"service": "credits", **labels}) or 0.0


# --- Holds of tasks that have ended


async def test_a_hold_whose_tasks_completion_was_lost_is_charged_as_its_end_says(
    bench: Bench,
) -> None:
    task = await bench.held()
    bench.ends(task, "completed", PRICE)
    assert await bench.round()
    assert await bench.balance() == Balance(GRANT_UNITS, PRICE, 0)
    assert await bench.differences() == [("hold_of_ended_task", task, "committed", True)]
    (used,) = await bench.credits.rows("SELECT outcome FROM credits_read.usage_records")
    assert used["outcome"] == "completed"


async def test_of_many_holds_without_a_task_some_wait_for_a_person(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generation may have lost its database: then its tasks may be running all the same."""
    monkeypatch.setattr(reconciler, "STRANGERS_MAX", 2)
    for _ in range(3):
        await bench.held()
    await bench.round()
    assert (await bench.balance()).reserved_units == PRICE
    actions = [action for _, _, action, _ in await bench.differences()]
    assert actions == ["released", "released", "left_open"]


async def test_a_hold_whose_tasks_failure_was_lost_is_released(bench: Bench) -> None:
    task = await bench.held()
    bench.ends(task, "failed")
    await bench.round()
    assert await bench.balance() == Balance(GRANT_UNITS, 0, 0)
    assert await bench.differences() == [("hold_of_ended_task", task, "released", True)]


async def test_a_part_is_charged_where_the_tasks_end_says_so(bench: Bench) -> None:
    task = await bench.held()
    bench.ends(task, "failed", 5_000)
    await bench.round()
    assert await bench.balance() == Balance(GRANT_UNITS, 5_000, 0)


async def test_the_budget_of_a_limited_key_is_freed_with_the_hold(bench: Bench) -> None:
    key = new_id()
    task = await bench.held(key_id=key, limit_units=PRICE)
    bench.ends(task, "failed")
    await bench.round()
    await bench.held(key_id=key, limit_units=PRICE)
    assert (await bench.credits.said())[-2:] == ["CreditsReleased", "CreditsReserved"]


async def test_a_hold_is_ended_loudly_and_counted(bench: Bench) -> None:
    before = counted("smartspec_reconciliation_holds_ended_total", type="hold_of_ended_task")
    task = await bench.held()
    bench.ends(task, "failed")
    with capture_logs() as logs:
        await bench.round()
    (line,) = (line for line in logs if line["event"] == "hold_ended_by_reconciler")
    assert (line["log_level"], line["task_id"]) == ("error", str(task))
    after = counted("smartspec_reconciliation_holds_ended_total", type="hold_of_ended_task")
    assert after == before + 1


@pytest.mark.parametrize(
    ("stage", "charged"), [("completed", PRICE), ("failed", 0), ("failed", 5_000)]
)
async def test_the_lost_word_that_comes_late_after_all_changes_nothing(
    bench: Bench, stage: str, charged: int
) -> None:
    task = await bench.held()
    bench.ends(task, stage, charged)
    await bench.round()
    before, said = await bench.balance(), await bench.credits.said()
    word = completed if stage == "completed" else failed
    await bench.hear(word(bench.account, task, charged))
    assert (await bench.balance(), await bench.credits.said()) == (before, said)
    assert await bench.credits.inbox.parked() == []
    assert await bench.credits.rows("SELECT * FROM credits_read.losses") == []


async def test_the_end_of_a_moment_ago_is_left_to_its_own_word(bench: Bench) -> None:
    task = await bench.held()
    bench.ends(task, "failed", ago=timedelta())
    bench.credits.clock.turn(GRACE - MOMENT)
    assert await bench.reconciler.round_if_due()
    assert (await bench.balance()).reserved_units == PRICE
    assert await bench.differences() == []
    await bench.round()
    assert (await bench.balance()).reserved_units == 0


async def test_a_word_that_comes_while_generation_is_asked_is_not_overtaken(bench: Bench) -> None:
    task = await bench.held()
    bench.ends(task, "completed", PRICE)

    async def word_comes() -> None:
        await bench.hear(completed(bench.account, task, PRICE))

    bench.generation.on_states = word_comes
    await bench.round()
    assert await bench.balance() == Balance(GRANT_UNITS, PRICE, 0)
    assert await bench.differences() == []
    assert (await bench.credits.said()).count("CreditsCommitted") == 1


async def test_a_release_that_comes_while_generation_is_asked_makes_no_loss(bench: Bench) -> None:
    """Whatever ended the hold first counts, though generation tells of a charge now."""
    task = await bench.held()
    bench.ends(task, "completed", PRICE)

    async def word_comes() -> None:
        await bench.hear(failed(bench.account, task))

    bench.generation.on_states = word_comes
    await bench.round()
    assert await bench.balance() == Balance(GRANT_UNITS, 0, 0)
    assert await bench.credits.rows("SELECT * FROM credits_read.losses") == []


async def test_what_the_ledger_refuses_is_left_to_a_person(bench: Bench) -> None:
    task = await bench.held()
    bench.ends(task, "completed", PRICE + 1)
    with capture_logs() as logs:
        assert await bench.round()
    assert "hold_cannot_be_ended" in {line["event"] for line in logs}
    assert (await bench.balance()).reserved_units == PRICE
    assert await bench.differences() == [
        ("hold_of_ended_task", task, "refused: exceeds_hold", False)
    ]
    bench.ends(task, "completed", PRICE)
    await bench.round()
    assert await bench.differences() == [("hold_of_ended_task", task, "committed", True)]


async def test_no_task_of_another_account_ends_a_hold(bench: Bench) -> None:
    task = await bench.held()
    bench.ends(task, "completed", PRICE)
    bench.generation.tasks[task]["account_id"] = str(new_id())
    await bench.round()
    assert (await bench.balance()).reserved_units == PRICE
    ((_, _, action, settled),) = await bench.differences()
    assert (action, settled) == ("refused: hold_differs", False)


# --- Holds of tasks that never were


async def test_a_hold_whose_task_never_was_is_released_after_five_minutes(bench: Bench) -> None:
    task = await bench.held(UNKNOWN_GRACE - EVERY - MOMENT)
    await bench.round()
    assert (await bench.balance()).reserved_units == PRICE
    await bench.round()
    assert await bench.balance() == Balance(GRANT_UNITS, 0, 0)
    assert await bench.differences() == [("hold_without_task", task, "released", True)]


async def test_a_hold_whose_task_lives_is_left_alone_however_old(bench: Bench) -> None:
    task = await bench.held(timedelta(days=30))
    bench.lives(task)
    assert await bench.round()
    assert (await bench.balance()).reserved_units == PRICE
    assert await bench.differences() == []


async def test_a_hold_of_this_minute_is_nobodys_concern_yet(bench: Bench) -> None:
    await bench.held(timedelta())
    assert await bench.reconciler.round_if_due()
    assert [path for path, _ in bench.generation.asked] == [LIVE]


# --- Tasks without a hold


async def test_a_live_task_without_a_hold_is_told_and_not_touched(bench: Bench) -> None:
    task = bench.id_of_age(HOUR)
    bench.lives(task)
    for _ in range(2):
        await bench.round()
    assert await bench.differences() == [("task_without_hold", task, None, False)]
    (row,) = await bench.credits.rows("SELECT * FROM credits.differences")
    assert row["amount_units"] == PRICE
    assert row["seen_at"] - row["found_at"] == EVERY
    assert await bench.balance() == Balance(GRANT_UNITS, 0, 0)


async def test_it_is_settled_as_soon_as_it_is_none_any_more(bench: Bench) -> None:
    task = bench.id_of_age(HOUR)
    bench.lives(task)
    await bench.round()
    bench.ends(task, "failed")
    await bench.round()
    assert await bench.differences() == [("task_without_hold", task, "gone", True)]
    bench.lives(task)
    await bench.round()
    assert await bench.differences() == [("task_without_hold", task, None, False)]


async def test_a_task_whose_hold_was_refused_or_has_ended_is_without_one(bench: Bench) -> None:
    task = await bench.held()
    await bench.hear(failed(bench.account, task))
    bench.lives(task)
    await bench.round()
    assert await bench.differences() == [("task_without_hold", task, None, False)]


async def test_a_task_of_this_minute_is_nobodys_concern_yet(bench: Bench) -> None:
    bench.lives(bench.id_of_age(timedelta()))
    assert await bench.reconciler.round_if_due()
    assert await bench.differences() == []


async def test_a_task_that_ends_while_holds_are_read_is_no_difference(bench: Bench) -> None:
    task = bench.id_of_age(HOUR)
    bench.lives(task)
    listed = bench.generation._told(LIVE, {"after": None, "limit": LIVE_MAX})
    bench.ends(task, "completed", PRICE, ago=timedelta())
    told = bench.generation._told

    def told_before(path: str, question: Any) -> Any:
        return listed if path == LIVE else told(path, question)

    bench.generation._told = told_before  # type: ignore[method-assign]
    assert await bench.round()
    assert await bench.differences() == []


# --- When generation can't answer


async def test_a_round_without_generation_is_left_out_and_said_to_be(bench: Bench) -> None:
    task = await bench.held()
    left_out = counted("smartspec_reconciliation_rounds_total", outcome="away")
    bench.generation.away = True
    with capture_logs() as logs:
        assert not await bench.round()
    assert "reconciliation_left_out" in {line["event"] for line in logs}
    assert counted("smartspec_reconciliation_rounds_total", outcome="away") == left_out + 1
    assert (await bench.balance()).reserved_units == PRICE
    assert await bench.differences() == []
    bench.generation.away = False
    assert await bench.round()
    assert await bench.differences() == [("hold_without_task", task, "released", True)]


@pytest.mark.parametrize("answer", [{"error": "access_denied"}, {"tasks": None}, [1], "no"])
async def test_an_answer_that_is_none_is_not_believed(bench: Bench, answer: Any) -> None:
    await bench.held()
    bench.generation.answer = answer
    assert not await bench.round()
    assert (await bench.balance()).reserved_units == PRICE


async def test_an_open_difference_is_not_settled_by_a_round_that_was_left_out(
    bench: Bench,
) -> None:
    task = bench.id_of_age(HOUR)
    bench.lives(task)
    await bench.round()
    bench.generation.away = True
    await bench.round()
    assert await bench.differences() == [("task_without_hold", task, None, False)]


# --- Bounds


async def test_holds_and_tasks_are_compared_in_pages(bench: Bench) -> None:
    tasks = [bench.id_of_age(HOUR) for _ in range(LIVE_MAX + 1)]
    for task in tasks:
        bench.lives(task)
    async with bench.credits.platform.database.connection() as connection:
        await connection.executemany(
            "INSERT INTO credits.streams (stream_id, version, state) VALUES ($1, 1, $2)",
            [
                (
                    f"hold-{task}",
                    {"status": "held", "account_id": str(new_id()), "amount_units": PRICE},
                )
                for task in tasks
            ],
        )
    assert await bench.round()
    sizes = [
        len(question["task_ids"]) for path, question in bench.generation.asked if path == STATES
    ]
    assert sizes == [STATES_MAX, STATES_MAX, LIVE_MAX + 1 - 2 * STATES_MAX]
    lists = [question for path, question in bench.generation.asked if path == LIVE]
    assert [question["after"] for question in lists] == [None, str(sorted(tasks)[LIVE_MAX - 1])]
    (seen,) = await bench.credits.rows("SELECT holds, tasks FROM credits.reconciliation")
    assert (seen["holds"], seen["tasks"]) == (LIVE_MAX + 1, LIVE_MAX + 1)
    assert await bench.differences() == []


async def test_open_holds_are_found_by_their_index(bench: Bench) -> None:
    async with bench.credits.platform.database.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN {OPEN_HOLDS}", "", "")
    text = "\n".join(row[0] for row in plan)
    assert "open_holds" in text
    assert "Sort" not in text


async def test_settled_differences_are_kept_for_their_time_and_then_forgotten(
    bench: Bench,
) -> None:
    task = await bench.held()
    bench.ends(task, "failed")
    await bench.round()
    bench.credits.clock.turn(KEPT_FOR - EVERY)
    await bench.round()
    assert len(await bench.differences()) == 1
    await bench.round()
    assert await bench.differences() == []


async def test_the_oldest_of_too_many_go_and_open_ones_stay(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.credits.adapters.differences.KEPT_MAX", 3)
    now = bench.credits.clock.now()
    records = Differences(bench.credits.platform.database)
    tasks = [new_id() for _ in range(4)]
    await records.record(
        [
            Found(
                Kind.HOLD_WITHOUT_TASK,
                *(task, bench.account, PRICE, now + timedelta(seconds=nth)),
                settled=nth > 0,
            )
            for nth, task in enumerate(tasks)
        ]
    )
    await records.end(*(new_id(), now), ended_at=now, holds=0, tasks=0, losses_units=0)
    assert [task for _, task, _, _ in await bench.differences()] == [tasks[0], *tasks[2:]]


# --- Several processes


async def test_of_two_replicas_one_has_the_round(bench: Bench) -> None:
    task = bench.id_of_age(HOUR)
    bench.lives(task)
    other = bench.another()
    with capture_logs() as logs:
        compared = await asyncio.gather(bench.reconciler.round_if_due(), other.round_if_due())
    assert sorted(compared) == [False, True]
    assert [line["event"] for line in logs].count("task_without_hold") == 1
    assert not await other.round_if_due()
    bench.credits.clock.turn(EVERY)
    assert await other.round_if_due()


async def test_a_round_that_another_process_has_taken_over_stops(bench: Bench) -> None:
    """It stood still for so long that its turn was over."""
    tasks = [bench.id_of_age(HOUR) for _ in range(2)]
    bench.lives(tasks[0])
    other = bench.another()
    compared: list[bool] = []

    async def stand_still() -> None:
        bench.generation.on_states = None
        bench.credits.clock.turn(EVERY)
        compared.append(await other.round_if_due())

    await bench.held()
    bench.generation.on_states = stand_still
    with capture_logs() as logs:
        assert not await bench.reconciler.round_if_due()
    assert compared == [True]
    assert "reconciliation_overtaken" in {line["event"] for line in logs}
    assert len(await bench.differences()) == 2


async def test_two_rounds_at_once_end_a_hold_once(bench: Bench) -> None:
    """The first is overtaken after it has asked, and before it decides."""
    task = await bench.held()
    bench.ends(task, "completed", PRICE)
    before = counted("smartspec_reconciliation_holds_ended_total", type="hold_of_ended_task")
    other, both = bench.another(), asyncio.Barrier(2)
    overtaking: list[asyncio.Task[bool]] = []

    async def meet() -> None:
        if not overtaking:
            bench.credits.clock.turn(EVERY)
            overtaking.append(asyncio.create_task(other.round_if_due()))
        await both.wait()

    bench.generation.on_states = meet
    await bench.reconciler.round_if_due()
    assert await overtaking[0]
    assert await bench.balance() == Balance(GRANT_UNITS, PRICE, 0)
    after = counted("smartspec_reconciliation_holds_ended_total", type="hold_of_ended_task")
    assert after == before + 1


# --- What is shown


async def test_shows_what_is_open_what_was_borne_and_how_old_the_last_round_is(
    bench: Bench,
) -> None:
    late = await bench.held()
    await bench.hear(failed(bench.account, late), completed(bench.account, late, PRICE))
    task = bench.id_of_age(HOUR)
    bench.lives(task)
    await bench.round()
    bench.credits.clock.turn(timedelta(seconds=90))
    await bench.reconciler.show()
    kind = "smartspec_reconciliation_differences"
    assert counted(kind, type="task_without_hold") == 1
    assert counted(kind, type="hold_without_task") == 0
    assert counted("smartspec_platform_losses_units") == PRICE
    assert counted("smartspec_reconciliation_age_seconds") == 90


async def test_a_worker_that_has_ended_shows_nothing(bench: Bench) -> None:
    compared = asyncio.Event()
    rounds = bench.reconciler.show

    async def shown() -> None:
        await rounds()
        compared.set()

    bench.reconciler.show = shown  # type: ignore[method-assign]
    worker = asyncio.create_task(bench.reconciler.run())
    await compared.wait()
    name, labels = "smartspec_platform_losses_units", {"service": "credits"}
    assert REGISTRY.get_sample_value(name, labels) == 0
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert REGISTRY.get_sample_value(name, labels) is None


async def test_all_accounts_sum_to_zero(bench: Bench) -> None:
    paid, late, open_one = await bench.held(), await bench.held(), await bench.held()
    await bench.hear(completed(bench.account, paid, PRICE))
    await bench.hear(failed(bench.account, late), completed(bench.account, late, PRICE))
    bench.lives(open_one)
    await bench.round()
    sums = await platform_sums(bench.credits.platform.database)
    assert sums == PlatformSums(
        grants_units=-GRANT_UNITS,
        revenue_units=2 * PRICE,
        losses_units=-PRICE,
        users_units=GRANT_UNITS - PRICE,
    )
    assert sums.total_units == 0
    last = await Differences(bench.credits.platform.database).last_round()
    assert (last.platform, last.losses_units) == (sums, PRICE)


async def test_a_balance_that_no_entry_explains_is_said_loudly(bench: Bench) -> None:
    await bench.round()
    await bench.credits.rows("UPDATE credits_read.credits_balances SET used_units = 1")
    with capture_logs() as logs:
        await bench.round()
        assert logs == [], "all entries are summed up now and then only"
        bench.credits.clock.turn(SUMS_EVERY)
        await bench.round()
    (line,) = (line for line in logs if line["event"] == "ledger_does_not_sum_to_zero")
    assert line["total_units"] == -1


async def test_what_the_reconciler_did_is_history_like_all_else(bench: Bench) -> None:
    ended, unknown = await bench.held(), await bench.held()
    bench.ends(ended, "completed", PRICE)
    await bench.round()
    assert {action for _, _, action, _ in await bench.differences()} == {"committed", "released"}
    assert unknown
    database = bench.credits.platform.database
    assert await verify(database, "credits", AGGREGATES) == []
    await rebuild(database, "credits", READ_MODEL, AGGREGATES)
    assert await bench.balance() == Balance(GRANT_UNITS, PRICE, 0)
