"""A storm: separate processes under load, faults by a seed, then final reads and the check.

Two phases, as in VOPR: first safety (anything may fail), then liveness (a healed world must come to
rest in a bounded time).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from services.simulator.domain.scenarios import draw
from tests.campaign.checker import check
from tests.campaign.faults import Kind, schedule
from tests.campaign.final_reads import Told
from tests.campaign.injector import Injector
from tests.campaign.invariants import Violation
from tests.campaign.invariants.proof import ledger_is_proved
from tests.campaign.load import Load
from tests.campaign.quiet import hurry_retries, left_to_do
from tests.campaign.world import World, living_world

SETTINGS: Final[Mapping[str, str]] = {
    "SIMULATOR_CANNED": "true",
    "SIMULATOR_MAX_ASKED": "1000000",  # the vendor's own account of it is held against ours
    "SIMULATOR_MAX_JOBS": "1000000",
    "SMARTSPEC_FIRST_LOOK_S": "0.05",
    "SMARTSPEC_UNKNOWN_FOR_S": "5",
    "SMARTSPEC_TASK_DEADLINE_S": "600",
    "SMARTSPEC_DATABASE_CONNECTIONS_MAX": "6",
    "LOG_LEVEL": "ERROR",
}
AT_ONCE_MAX: Final = 4
"""Faults of different parts that go on together."""
RECOVERY_MAX_S: Final = 30.0
SETTLE_MAX_S: Final = 240.0
"""Longer than any lease, and than the time of a job whose submitter died."""
QUIET_LOOK_EVERY_S: Final = 0.5
ASKED_EVERY_S: Final = 0.5
UNANSWERED_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    minutes: float
    tasks_per_s: float = 3.0
    mutant: str | None = None
    kinds: Sequence[Kind] = tuple(Kind)
    settle_max_s: float = SETTLE_MAX_S
    log: Path | None = None
    """Where to keep what the services said."""


@dataclass
class Report:
    """What happened, and what is wrong."""

    seed: int
    minutes: float
    mutant: str | None
    faults: Counter[str] = field(default_factory=Counter)
    told: Told = field(default_factory=lambda: Told({}))
    statuses: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    asked_again: int = 0
    recovered_s: float = 0.0
    settled_s: float = 0.0
    unsettled: dict[str, int] = field(default_factory=dict)
    hurried: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def good(self) -> bool:
        wrong = self.violations or self.unexplained or self.unsettled
        return not wrong and self.recovered_s <= RECOVERY_MAX_S

    def facts(self) -> dict[str, Any]:
        """For a file: counts, and the violations in words."""
        told = self.told
        return {
            **{name: value for name, value in asdict(self).items() if name != "told"},
            "faults": dict(sorted(self.faults.items())),
            "faults_in_all": self.faults.total(),
            "statuses": dict(sorted(self.statuses.items())),
            "accepted": len(told.accepted),
            "refused": len(told.refused),
            "unknown": len(told.unknown),
            "recovered_s": round(self.recovered_s, 2),
            "settled_s": round(self.settled_s, 2),
            "violations": [str(violation) for violation in self.violations],
        }

    def __str__(self) -> str:
        told = self.told
        lines = [
            f"seed {self.seed}, {self.minutes} minutes, {self.faults.total()} faults",
            *(f"  {count:4} {kind}" for kind, count in sorted(self.faults.items())),
            f"accepted {len(told.accepted)}, refused {len(told.refused)}",
            f"unknown {len(told.unknown)}, asked again {self.asked_again} times",
            "tasks: " + ", ".join(f"{name} {n}" for name, n in sorted(self.statuses.items())),
            f"took requests again after {self.recovered_s:.1f} s",
            f"at rest after {self.settled_s:.1f} s, {self.hurried} kept messages hurried",
            f"{len(self.violations)} violations",
            *(f"  {violation}" for violation in self.violations),
            *(f"unexplained: {words}" for words in self.unexplained),
            *(f"not at rest: {name} {count}" for name, count in self.unsettled.items()),
        ]
        return "\n".join(lines)


def run(plan: Plan, say: Callable[[str], object]) -> Report:
    """From the main thread. `say` hears of each step."""
    return asyncio.run(_storm(plan, say))


async def _storm(plan: Plan, say: Callable[[str], object]) -> Report:
    report = Report(plan.seed, plan.minutes, plan.mutant)
    start = int(draw(plan.seed, "port") * 10_000)
    async with living_world(start, SETTINGS, plan.mutant) as world:
        say("ready")
        async with Load(world.url, plan.seed) as load:
            load.expect(up=True)
            report.faults = await _safety(plan, world, load, say)
            assert world.servers_live, "a fault mends what it broke"
            say("healed")
            world.heal()
            await _liveness(world, load, report, plan.settle_max_s)
            outcomes = load.outcomes
            report.told = outcomes.told()
            report.statuses = outcomes.statuses
            report.unexplained = outcomes.unexplained
            report.asked_again = outcomes.asked_again
        world.supervisor.stop()
        while world.supervisor.pids():  # noqa: ASYNC110 - they end by themselves
            await asyncio.sleep(QUIET_LOOK_EVERY_S)
        say("checking")
        if plan.log is not None:
            plan.log.write_text(world.words())
        objects_root = world.home / "objects"
        report.violations = [
            *await ledger_is_proved(world.dsn, objects_root),
            *await check(world.dsn, objects_root, report.told, journal=world.journal),
        ]
    return report


async def _safety(
    plan: Plan, world: World, load: Load, say: Callable[[str], object]
) -> Counter[str]:
    """Faults in their order, at most `AT_ONCE_MAX` together, while tasks are asked for."""
    injector, began_s = Injector(world), time.monotonic()
    slots = asyncio.Semaphore(AT_ONCE_MAX)
    asking = asyncio.create_task(_ask(plan, load))
    playing: set[asyncio.Task[None]] = set()
    try:
        for fault in schedule(plan.seed, plan.minutes * 60, plan.kinds):
            await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
            await slots.acquire()
            if time.monotonic() - began_s > plan.minutes * 60:
                break
            say(f"{time.monotonic() - began_s:7.1f} s  {fault.kind}")
            task = asyncio.create_task(injector.play(fault))
            playing.add(task)
            task.add_done_callback(lambda _: slots.release())
        await asyncio.sleep(max(0.0, began_s + plan.minutes * 60 - time.monotonic()))
        await asyncio.gather(*playing)
    finally:
        asking.cancel()
    return injector.played


async def _ask(plan: Plan, load: Load) -> None:
    """At a rate, as long as the answers keep up: clients give up when too many wait."""
    asked_at_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        wanted = int((now_s - asked_at_s) * plan.tasks_per_s)
        load.allow(max(0, min(wanted, UNANSWERED_MAX - load.unanswered)))
        asked_at_s += wanted / plan.tasks_per_s
        await asyncio.sleep(ASKED_EVERY_S)


async def _liveness(world: World, load: Load, report: Report, settle_max_s: float) -> None:
    """What is not at rest in time is named in the report."""
    began_s = time.monotonic()
    report.recovered_s = await load.accepted_again(RECOVERY_MAX_S * 2)
    unanswered = await load.settle(settle_max_s)
    while left := await left_to_do(world.dsn):
        report.hurried += await hurry_retries(world.dsn)
        if time.monotonic() - began_s > settle_max_s:
            report.unsettled = left
            break
        await asyncio.sleep(QUIET_LOOK_EVERY_S)
    if unanswered:
        report.unsettled["requests without an answer"] = unanswered
    report.settled_s = time.monotonic() - began_s
