"""One campaign: load, and kills at moments that a seed chooses, until all is quiet; then the check.

The same seed kills the same things at the same moments of each start; what they interrupt is up to
the machine.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kernel.embedded_postgres import EmbeddedPostgres
from services.simulator.domain.scenarios import draw
from tests.campaign.checker import check
from tests.campaign.final_reads import Told
from tests.campaign.invariants import Violation
from tests.campaign.invariants.proof import ledger_is_proved
from tests.campaign.load import Load
from tests.campaign.process import (
    GONE_TIMEOUT_S,
    Product,
    Victim,
    quiet_port,
    temporary_home,
)
from tests.campaign.quiet import left_to_do

SETTINGS: Final[Mapping[str, str]] = {
    "SIMULATOR_CANNED": "true",
    "SMARTSPEC_FIRST_LOOK_S": "0.05",
    "SMARTSPEC_UNKNOWN_FOR_S": "2",
    "SMARTSPEC_TASK_DEADLINE_S": "120",
    "LOG_LEVEL": "WARNING",
}
EARLY: Final = 0.2
"""The share of kills that come while the product is still starting."""
STARTING_S: Final = 2.0
WORKING_S: Final = 1.0
"""Kills come at a random moment within so long after the start was begun, or after it was ready."""
VICTIMS: Final = tuple(Victim)
EARLY_GONE_TIMEOUT_S: Final = 30.0
"""A product that is cut off while it imports notices when it has: that is the machine's speed."""
QUIET_LOOK_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """`minutes` goes on with kills, and tasks in proportion, for at least so long."""

    seed: int
    tasks: int = 100
    kills: int = 10
    minutes: float = 0.0
    settle_timeout_s: float = 150.0

    @property
    def tasks_between_kills(self) -> int:
        return -(-self.tasks // (self.kills + 1))


@dataclass(frozen=True, slots=True)
class Kill:
    """`at_s` since the campaign began; `gone_s` until nothing of it was left."""

    at_s: float
    victim: Victim
    moment: str
    gone_s: float

    def __str__(self) -> str:
        return f"{self.at_s:7.2f} s  {self.victim:<8} {self.moment}; gone in {self.gone_s:.2f} s"


@dataclass
class Report:
    """What happened, and what is wrong."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    told: Told = field(default_factory=lambda: Told({}))
    statuses: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    asked_again: int = 0
    unsettled: int = 0
    exit_status: int | None = None
    ended_in_s: float = 0.0
    lasted_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        told = self.told
        lines = [
            f"seed {self.seed}, {len(self.kills)} kills, {self.lasted_s:.1f} s",
            *(f"  {kill}" for kill in self.kills),
            f"accepted {len(told.accepted)}, refused {len(told.refused)}",
            f"unknown {len(told.unknown)}, asked again {self.asked_again} times",
            "tasks: " + ", ".join(f"{name} {n}" for name, n in sorted(self.statuses.items())),
            f"ended on SIGINT in {self.ended_in_s:.2f} s with status {self.exit_status}",
            f"{len(self.violations)} violations",
            *(f"  {violation}" for violation in self.violations),
            *(f"unexplained: {words}" for words in self.unexplained),
        ]
        if self.unsettled:
            lines.append(f"{self.unsettled} requests or tasks did not end in time")
        return "\n".join(lines)

    @property
    def good(self) -> bool:
        wrong = self.violations or self.unexplained or self.unsettled
        return not wrong and self.exit_status == 0


def run(plan: Plan, say: Callable[[str], object]) -> Report:
    """From the main thread only: it starts PostgreSQL at the end. `say` hears of each step.

    Raises `Broken` when the product does not start, does not end, or leaves something behind.
    """
    report = Report(plan.seed)
    began = time.monotonic()
    with temporary_home() as home:
        port = quiet_port(int(draw(plan.seed, "port") * 10_000))
        with Product(home, port, SETTINGS) as product:
            asyncio.run(_Drive(plan, product, report, say).run())
        server = EmbeddedPostgres(home / "postgres")
        try:
            report.violations = asyncio.run(_checked(server.start(), home, report.told))
        finally:
            server.stop()
    report.lasted_s = time.monotonic() - began
    return report


async def _checked(dsn: str, home: Path, told: Told) -> list[Violation]:
    objects_root = home / "objects"
    journal = home / "simulator" / "journal.jsonl"
    return [
        *await ledger_is_proved(dsn, objects_root),
        *await check(dsn, objects_root, told, journal=journal),
    ]


@dataclass
class _Drive:
    """The part of a campaign during which the product lives."""

    plan: Plan
    product: Product
    report: Report
    say: Callable[[str], object]

    async def run(self) -> None:
        began = time.monotonic()
        async with Load(self.product.url, self.plan.seed) as load:
            number = 0
            while number < self.plan.kills or time.monotonic() - began < self.plan.minutes * 60:
                load.allow(self.plan.tasks_between_kills)
                kill = await self._start_and_kill(load, number, began)
                self.report.kills.append(kill)
                self.say(str(kill))
                number += 1
            rest = self.plan.tasks - number * self.plan.tasks_between_kills
            load.allow(max(0, rest))
            await self._until_quiet(load)
            outcomes = load.outcomes
            self.report.told = outcomes.told()
            self.report.statuses = outcomes.statuses
            self.report.unexplained = outcomes.unexplained
            self.report.asked_again = outcomes.asked_again
        self.product.interrupt()
        self.report.exit_status, self.report.ended_in_s = await asyncio.to_thread(
            self.product.wait_gone
        )

    async def _start_and_kill(self, load: Load, number: int, began: float) -> Kill:
        seed = self.plan.seed
        self.product.start()
        delay = draw(seed, f"moment:{number}")
        early = draw(seed, f"early:{number}") < EARLY
        if early:
            await asyncio.sleep(delay * STARTING_S)
            moment = f"{delay * STARTING_S:.2f} s after the start"
        else:
            await asyncio.to_thread(self.product.wait_ready)
            load.expect(up=True)
            await asyncio.sleep(delay * WORKING_S)
            moment = f"{delay * WORKING_S:.2f} s after it was ready"
        wanted = VICTIMS[int(draw(seed, f"victim:{number}") * len(VICTIMS))]
        at_s = time.monotonic() - began
        victim = await asyncio.to_thread(self.product.kill, wanted)
        load.expect(up=False)
        timeout_s = EARLY_GONE_TIMEOUT_S if early else GONE_TIMEOUT_S
        _, gone_s = await asyncio.to_thread(self.product.wait_gone, timeout_s)
        return Kill(at_s, victim, moment, gone_s)

    async def _until_quiet(self, load: Load) -> None:
        """All answered, all ended, all said and heard; what is not, after the time-out, the check
        will name."""
        self.product.start()
        await asyncio.to_thread(self.product.wait_ready)
        load.expect(up=True)
        deadline = time.monotonic() + self.plan.settle_timeout_s
        self.report.unsettled = await load.settle(self.plan.settle_timeout_s)
        while time.monotonic() < deadline and await left_to_do(self.product.dsn):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(QUIET_LOOK_EVERY_S)
