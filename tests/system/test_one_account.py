"""Fifty clients spend one account's credits for thirty seconds, as generation's tasks would; the
same while the ledger's process is killed again and again."""

import asyncio
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from contracts.credits import CreditsDeclined, CreditsReserved
from contracts.envelope import Envelope, PublicEvent
from contracts.generation import TaskCancelled, TaskCompleted, TaskCreated, TaskFailed
from contracts.keys import UserRegistered
from kernel.bus import RabbitMQBus
from kernel.clock import SystemClock, new_id
from kernel.testing import envelope_of
from tests.system.conftest import servers
from tests.system.containers import Containers
from tests.system.product import ROOT

CLIENTS = 50
FOR_S = 30.0
DRAIN_S = 60.0
ANSWER_S = 60.0
SEED = 11
UNITS_MAX = 200_000
"""20 credits: fifty such tasks at once are ten times what the free plan grants, so that most of the
time some are declined."""
NOW = SystemClock().now()


@dataclass
class Account:
    """Spends as fifty clients; what each was told is all that it knows."""

    bus: RabbitMQBus
    account_id: UUID = field(default_factory=new_id)
    granted_units: int = 1_000_000
    reserved: dict[UUID, int] = field(default_factory=dict)
    charged: dict[UUID, int] = field(default_factory=dict)
    declined: set[UUID] = field(default_factory=set)
    answers: dict[UUID, asyncio.Future[bool]] = field(default_factory=dict)

    async def hear(self, envelope: Envelope) -> None:
        """A repeated answer is the same answer."""
        if envelope.type == "CreditsReserved":
            reserved = CreditsReserved.model_validate(envelope.data)
            self._answer(reserved.task_id, is_yes=True)
        elif envelope.type == "CreditsDeclined":
            declined = CreditsDeclined.model_validate(envelope.data)
            assert declined.available_units < declined.required_units
            self._answer(declined.task_id, is_yes=False)

    def _answer(self, task_id: UUID, *, is_yes: bool) -> None:
        answer = self.answers[task_id]
        if answer.done():
            assert answer.result() is is_yes, "the answer of a task never turns"
        else:
            answer.set_result(is_yes)

    async def say(self, event: PublicEvent, dice: random.Random) -> None:
        """Some messages come twice, under their own id or, as if sent anew, under another."""
        envelope = envelope_of(event)
        await self.bus.publish(envelope)
        match dice.randrange(10):
            case 0:
                await self.bus.publish(envelope)
            case 1:
                await self.bus.publish(envelope_of(event))
            case _:
                pass

    async def register(self) -> None:
        await self.bus.publish(
            envelope_of(
                UserRegistered(
                    user_id=self.account_id,
                    account_id=self.account_id,
                    plan="free",
                    role="user",
                    registered_at=NOW,
                )
            )
        )

    async def spend(self, dice: random.Random, until_s: float) -> None:
        """One client: a task, its answer, its end, and again."""
        while monotonic() < until_s:
            task_id, price = new_id(), dice.randint(1, UNITS_MAX)
            self.answers[task_id] = asyncio.get_running_loop().create_future()
            await self.say(self.created(task_id, price), dice)
            async with asyncio.timeout(ANSWER_S):
                is_reserved = await self.answers[task_id]
            if not is_reserved:
                self.declined.add(task_id)
                continue
            self.reserved[task_id] = price
            charged = dice.choice([0, 0, dice.randint(1, price) // 50, 0])
            self.charged[task_id] = charged
            await self.say(self.ended(task_id, charged, dice), dice)

    def created(self, task_id: UUID, price: int) -> TaskCreated:
        return TaskCreated(
            task_id=task_id,
            user_id=self.account_id,
            account_id=self.account_id,
            key_id=None,
            monthly_credit_limit_units=None,
            task_type="image",
            model_id="flux-2",
            price_units=price,
            created_at=NOW,
        )

    def ended(self, task_id: UUID, charged: int, dice: random.Random) -> PublicEvent:
        who = {"task_id": task_id, "user_id": self.account_id, "account_id": self.account_id}
        if charged:
            return TaskCompleted(
                **who,
                model_id="flux-2",
                charged_units=charged,
                outcome="completed",
                completed_at=NOW,
            )
        if dice.random() < 0.5:
            return TaskFailed(
                **who,
                code="provider_failed",
                charged_units=0,
                outcome="provider_failed",
                failed_at=NOW,
            )
        return TaskCancelled(**who, charged_units=0, outcome="cancelled", cancelled_at=NOW)


@pytest.fixture
def ledgers() -> Iterator[list[Containers]]:
    """Two, each on a database and queues of its own."""
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            settings = stack.enter_context(servers())
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="smartspec-one-account-")
            )
            made.append(stack.enter_context(Containers(Path(folder), settings)))
        yield made


@pytest.mark.timeout(240)
async def test_fifty_clients_of_one_account_lose_and_overdraw_nothing(
    ledgers: list[Containers],
) -> None:
    """One ledger is left alone, the other one's process is killed five times, at the same time."""
    for containers in ledgers:
        await asyncio.to_thread(start, containers)
    left_alone, killed = ledgers
    await asyncio.gather(spent(left_alone, kills=0), spent(killed, kills=5))


async def spent(containers: Containers, kills: int) -> None:
    settings = containers.settings
    bus = RabbitMQBus(settings["RABBITMQ_URL"], prefix=settings["SMARTSPEC_QUEUE_PREFIX"])
    account = Account(bus)
    bus.subscribe("generation", account.hear, account.hear)
    await bus.start()
    try:
        await account.register()
        until_s = monotonic() + FOR_S
        killing = asyncio.create_task(kill_now_and_then(containers, kills, FOR_S))
        dice = random.Random(SEED)  # noqa: S311 - repeatable
        await asyncio.gather(
            *(account.spend(random.Random(dice.random()), until_s) for _ in range(CLIENTS))  # noqa: S311
        )
        await killing
        await drained(settings["DATABASE_URL"])
    finally:
        await bus.quiesce()
        await bus.stop()
    assert len(account.reserved) > CLIENTS
    assert account.declined, "nobody was ever short: the load proves nothing"
    await all_adds_up(settings["DATABASE_URL"], account)
    verdict = await asyncio.to_thread(verify, containers)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def start(containers: Containers) -> None:
    containers.start("credits")
    containers.wait_ready("credits")


def verify(containers: Containers) -> subprocess.CompletedProcess[str]:
    """`python -m services.credits ledger verify`, beside the service that runs."""
    return subprocess.run(
        [sys.executable, "-m", "services.credits", "ledger", "verify", "--all"],
        cwd=ROOT,
        env=containers.product.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


async def kill_now_and_then(containers: Containers, kills: int, for_s: float) -> None:
    """Evenly, without warning; each time it is started again."""
    for _ in range(kills):
        await asyncio.sleep(for_s / (kills + 1))
        containers.kill("credits")
        containers.start("credits")


async def drained(dsn: str) -> None:
    """Every message has been handled, and every answer said."""
    question = """
        SELECT NOT EXISTS (SELECT FROM credits.outbox)
        AND NOT EXISTS (SELECT FROM credits.inbox WHERE state = 'retry')
        AND NOT EXISTS (SELECT FROM credits.streams
                        WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held')"""
    connection = await asyncpg.connect(dsn)
    try:
        with suppress(TimeoutError):  # then what is left is shown by what does not add up
            async with asyncio.timeout(DRAIN_S):
                while not await connection.fetchval(question):  # noqa: ASYNC110 - another process does it
                    await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def all_adds_up(dsn: str, account: Account) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT * FROM credits_read.credit_transactions WHERE account_id = $1"
            " ORDER BY account_version",
            account.account_id,
        )
        parked = await connection.fetchval(
            "SELECT count(*) FROM credits.inbox WHERE state = 'parked'"
        )
    finally:
        await connection.close()
    entries = [dict(row) for row in rows]
    assert parked == 0
    assert [entry["account_version"] for entry in entries] == list(range(2, len(entries) + 2))
    for entry in entries:
        assert available_after(entry) >= 0, "overdrawn"
    assert of_kind(entries, "hold") == account.reserved
    charges = {task_id: units for task_id, units in account.charged.items() if units}
    assert of_kind(entries, "commit") == charges
    released = {task_id for task_id, units in account.charged.items() if not units}
    assert of_kind(entries, "release").keys() == released
    last = entries[-1]
    assert (last["granted_after"], last["used_after"], last["held_after"]) == (
        account.granted_units,
        sum(charges.values()),
        0,
    )


def available_after(entry: Mapping[str, Any]) -> int:
    return int(entry["granted_after"] - entry["used_after"] - entry["held_after"])


def of_kind(entries: Sequence[Mapping[str, Any]], kind: str) -> dict[UUID, int]:
    """By task; each has one such entry at most."""
    found = [
        (entry["task_id"], entry["amount_units"]) for entry in entries if entry["kind"] == kind
    ]
    assert len(dict(found)) == len(found), f"a task has two entries of kind {kind}"
    return dict(found)
