"""Compares open holds with live tasks once a minute, in both directions, and says what differs.

A hold ends with its task; it never expires by itself. Where the word of that end was lost, or the
task never was, the hold is ended here, by what generation's own history says, as if the word had
come. What generation can't answer now is no difference: the round is left out, and said to be.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from kernel.clock import Clock, new_id
from kernel.errors import Error, Unavailable
from kernel.event_store import EventStore
from kernel.inbox_partitions import first_id_of
from kernel.sql import DATABASE_AWAY
from kernel.telemetry.metrics import REGISTRY
from kernel.unit import Unit
from services.credits.adapters.differences import Differences, Found, Kind, found_sql
from services.credits.adapters.generation_tasks import (
    STATES_MAX,
    GenerationTasks,
    LiveTask,
    TaskState,
)
from services.credits.adapters.platform_accounts import losses_units, platform_sums
from services.credits.domain import HOLD, HoldStatus

GRACE: Final = timedelta(seconds=60)
"""After its task's end, for the word of it to come by itself; and before a task counts at all."""
UNKNOWN_GRACE: Final = timedelta(minutes=5)
"""For a task that generation does not know: it is there before its reservation is asked for."""
STRANGERS_MAX: Final = 100
"""Holds of tasks that never were, ended in one round: more of them say that generation has lost its
database, or was given another one, and its users' tasks may be running all the same."""
NEVER_EXISTED: Final = "never_existed"
LEFT_OPEN: Final = "left_open"
COMMITTED: Final = "committed"
RELEASED: Final = "released"
LOOK_EVERY_S: Final = 5.0
"""Whether a round is due; of all processes together, one a minute begins it."""
SUMS_EVERY: Final = timedelta(minutes=10)
SERVICE: Final = "credits"

EndHold = Callable[[Unit, UUID, UUID, int, str], Awaitable[None]]
"""`inbox.end_hold`: unit, account, task, units to charge, outcome."""

DIFFERENCES: Final = Gauge(
    "smartspec_reconciliation_differences",
    "Differences between open holds and live tasks that are not settled, by kind.",
    ("service", "type"),
    registry=REGISTRY,
)
HOLDS_ENDED: Final = Counter(
    "smartspec_reconciliation_holds_ended_total",
    "Holds that the reconciler ended, because their task had ended or never was, by kind.",
    ("service", "type"),
    registry=REGISTRY,
)
ROUNDS: Final = Counter(
    "smartspec_reconciliation_rounds_total",
    "Rounds of this process by how they ended: compared, away (generation) or failed.",
    ("service", "outcome"),
    registry=REGISTRY,
)
AGE: Final = Gauge(
    "smartspec_reconciliation_age_seconds",
    "Since the last round that compared everything, of whichever process.",
    ("service",),
    registry=REGISTRY,
)
LOSSES: Final = Gauge(
    "smartspec_platform_losses_units",
    "What the platform has borne because it came too late, in 1/10,000 credit.",
    ("service",),
    registry=REGISTRY,
)

OPEN_HOLDS: Final = f"""
    SELECT state->>'account_id' AS account_id, stream_id,
        (state->>'amount_units')::bigint AS amount_units
    FROM credits.streams
    WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held'
        AND ((state->>'account_id'), stream_id) > ($1, $2)
    ORDER BY (state->>'account_id'), stream_id LIMIT {STATES_MAX}"""
_HELD: Final = """
    SELECT stream_id FROM credits.streams
    WHERE stream_id = ANY($1::text[]) AND state->>'status' = 'held'"""

_log = structlog.get_logger(__name__)


class Overtaken(Exception):
    """Another process has the round now."""


@dataclass(frozen=True, slots=True)
class _OpenHold:
    account_id: UUID
    task_id: UUID
    amount_units: int


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a hold is to end, and of which difference that is."""

    kind: Kind
    account_id: UUID
    charged_units: int
    outcome: str


class Reconciler:
    """`end_hold` is what a message of the task's end is handled by."""

    def __init__(self, store: EventStore, tasks: GenerationTasks, end_hold: EndHold) -> None:
        self._store = store
        self._tasks = tasks
        self._end_hold = end_hold
        self._differences = Differences(store.database)
        self._holder = new_id()

    async def run(self) -> None:
        """Until cancelled; then nothing is said of it any more."""
        try:
            while True:
                try:
                    await self.round_if_due()
                    await self.show()
                except (*DATABASE_AWAY, asyncpg.PostgresError, TimeoutError, Error) as error:
                    self._forget()
                    _log.warning("reconciliation_failed", error=type(error).__name__)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._forget()

    async def round_if_due(self) -> bool:
        """Whether everything was compared now."""
        if not await self._differences.claim(self._holder, self._clock.now()):
            return False
        try:
            await self._round()
        except Unavailable:
            ROUNDS.labels(SERVICE, "away").inc()
            _log.warning("reconciliation_left_out", reason="generation does not answer")
            return False
        except Overtaken:
            _log.warning("reconciliation_overtaken")
            return False
        except Exception:
            ROUNDS.labels(SERVICE, "failed").inc()
            raise
        ROUNDS.labels(SERVICE, "compared").inc()
        return True

    async def show(self) -> None:
        """The gauges, from the records: each replica says the same."""
        last = await self._differences.last_round()
        still_open = await self._differences.still_open()
        for kind in Kind:
            DIFFERENCES.labels(SERVICE, kind.value).set(still_open.get(kind.value, 0))
        LOSSES.labels(SERVICE).set(last.losses_units)
        if last.compared_at is not None:
            age = self._clock.now() - last.compared_at
            AGE.labels(SERVICE).set(max(0.0, age.total_seconds()))

    @property
    def _clock(self) -> Clock:
        return self._store.clock

    async def _round(self) -> None:
        began_at = self._clock.now()
        holds = await self._compare_holds()
        tasks = await self._compare_tasks()
        await self._sum_up()
        await self._differences.end(
            self._holder,
            began_at,
            ended_at=self._clock.now(),
            holds=holds,
            tasks=tasks,
            losses_units=await losses_units(self._store.database),
        )

    async def _compare_holds(self) -> int:
        """How many were open. The young ones are nobody's concern yet."""
        count = strangers = 0
        async for page in self._open_holds():
            count += len(page)
            now = self._clock.now()
            old = [hold for hold in page if hold.task_id < first_id_of(now - GRACE)]
            if not old:
                continue
            states = await self._tasks.states([hold.task_id for hold in old])
            for hold in old:
                ending = _ending_of(hold, states.get(hold.task_id), now)
                if ending is None:
                    continue
                strangers += ending.kind is Kind.HOLD_WITHOUT_TASK
                if ending.kind is Kind.HOLD_WITHOUT_TASK and strangers > STRANGERS_MAX:
                    await self._leave_open(hold, ending)
                else:
                    await self._end(hold, ending)
        return count

    async def _leave_open(self, hold: _OpenHold, ending: _Ending) -> None:
        now = self._clock.now()
        found = Found(ending.kind, hold.task_id, hold.account_id, hold.amount_units, now, LEFT_OPEN)
        await self._differences.record([found])
        _log.error("hold_left_open", kind=ending.kind.value, task_id=str(hold.task_id))

    async def _open_holds(self) -> AsyncIterator[Sequence[_OpenHold]]:
        """Page by page, the round renewed before each."""
        after = ("", "")
        while True:
            await self._renew()
            async with self._store.database.connection() as connection:
                rows = await connection.fetch(OPEN_HOLDS, *after)
            if rows:
                yield [
                    _OpenHold(
                        UUID(row["account_id"]),
                        UUID(row["stream_id"].removeprefix(HOLD.stream_id(""))),
                        row["amount_units"],
                    )
                    for row in rows
                ]
            if len(rows) < STATES_MAX:
                return
            after = (rows[-1]["account_id"], rows[-1]["stream_id"])

    async def _end(self, hold: _OpenHold, ending: _Ending) -> None:
        """Unless the word of it has come meanwhile. What the ledger refuses is for a person."""
        found = Found(
            ending.kind, hold.task_id, hold.account_id, hold.amount_units, self._clock.now()
        )
        action = COMMITTED if ending.charged_units else RELEASED

        async def work(unit: Unit) -> bool:
            held = await unit.state(HOLD, HOLD.stream_id(hold.task_id))
            if held.status is not HoldStatus.HELD:
                return False
            await self._end_hold(
                unit, ending.account_id, hold.task_id, ending.charged_units, ending.outcome
            )
            text, values = found_sql(replace(found, action=action, settled=True))
            unit.record_sql(text, *values)
            return True

        told = {"kind": ending.kind.value, "task_id": str(hold.task_id), "outcome": ending.outcome}
        try:
            is_ended = await self._store.transact(work)
        except Unavailable:  # too many changes at once: the hold is seen again in a minute
            _log.warning("hold_not_ended_now", **told)
        except Error as error:
            await self._differences.record([replace(found, action=f"refused: {error.code}")])
            _log.error("hold_cannot_be_ended", reason=error.code, **told)
        else:
            if is_ended:
                HOLDS_ENDED.labels(SERVICE, ending.kind.value).inc()
                _log.error("hold_ended_by_reconciler", action=action, **told)

    async def _compare_tasks(self) -> int:
        """How many live."""
        count, after = 0, None
        while True:
            await self._renew()
            page = await self._tasks.live(after)
            count += len(page.tasks)
            suspects = await self._without_hold(page.tasks)
            for nth in range(0, len(suspects), STATES_MAX):
                await self._report(suspects[nth : nth + STATES_MAX])
            after = page.next
            if after is None:
                return count

    async def _without_hold(self, tasks: Sequence[LiveTask]) -> Sequence[LiveTask]:
        first = first_id_of(self._clock.now() - GRACE)
        old = {HOLD.stream_id(task.task_id): task for task in tasks if task.task_id < first}
        if not old:
            return ()
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(_HELD, list(old))
        held = {row["stream_id"] for row in rows}
        return [task for stream_id, task in old.items() if stream_id not in held]

    async def _report(self, suspects: Sequence[LiveTask]) -> None:
        """Those that live still: the hold of one that has ended since ended before it was asked
        for, as it should."""
        states = await self._tasks.states([task.task_id for task in suspects])
        now = self._clock.now()
        found = []
        for task in suspects:
            state = states.get(task.task_id)
            if state is not None and state.ended_at is None:
                _log.error("task_without_hold", task_id=str(task.task_id))
                found.append(
                    Found(
                        Kind.TASK_WITHOUT_HOLD, task.task_id, task.account_id, task.price_units, now
                    )
                )
        await self._differences.record(found)

    async def _sum_up(self) -> None:
        last, now = await self._differences.last_round(), self._clock.now()
        if last.platform_at is not None and now < last.platform_at + SUMS_EVERY:
            return
        try:
            sums = await platform_sums(self._store.database)
        except TimeoutError:  # the old ones are shown, with their time
            _log.warning("platform_not_summed_up")
            return
        await self._differences.sums(sums, now)
        if sums.total_units:
            _log.error("ledger_does_not_sum_to_zero", total_units=sums.total_units)

    async def _renew(self) -> None:
        if not await self._differences.renew(self._holder, self._clock.now()):
            raise Overtaken

    def _forget(self) -> None:
        """An old figure would look like a good one."""
        for gauge in (DIFFERENCES, AGE, LOSSES):
            gauge.remove_by_labels({"service": SERVICE})


def _ending_of(hold: _OpenHold, state: TaskState | None, now: datetime) -> _Ending | None:
    """None for a hold that is as it should be: its task lives, or its end was just now."""
    if state is None:
        if hold.task_id >= first_id_of(now - UNKNOWN_GRACE):
            return None
        return _Ending(Kind.HOLD_WITHOUT_TASK, hold.account_id, 0, NEVER_EXISTED)
    if state.ended_at is None or state.ended_at > now - GRACE:
        return None
    return _Ending(Kind.HOLD_OF_ENDED_TASK, state.account_id, state.charged_units, state.outcome)
