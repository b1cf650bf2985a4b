"""Requests for credits: tasks of seeded accounts, as generation announces them; for `bench.ledger`.

    python -m bench.feeding PREFIX PER_S COUNT

feeds them from a process of its own, at a rate. The moment a message was made is in its id.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

import uvloop

from bench.load import at_a_rate
from bench.repetitions import SEED
from bench.servers import RABBITMQ
from contracts.envelope import Envelope
from contracts.generation import TaskCreated
from kernel import logs
from kernel.bus import RabbitMQBus
from kernel.clock import SystemClock, new_id
from kernel.runtime import collect_garbage_rarely

ACCOUNTS: Final = 1_000
PRICE_UNITS: Final = 10_000
_USER: Final = UUID(int=1)


def account(nth: int) -> UUID:
    return UUID(int=1_000_000 + nth)


def drawn_accounts(count: int) -> list[UUID]:
    dice = random.Random(SEED)  # noqa: S311 - a fixed load
    return [account(dice.randrange(ACCOUNTS)) for _ in range(count)]


def task_created(account_id: UUID) -> Envelope:
    now, task_id, event_id = SystemClock().now(), new_id(), new_id()
    event = TaskCreated(
        task_id=task_id,
        user_id=_USER,
        account_id=account_id,
        key_id=None,
        monthly_credit_limit_units=None,
        task_type="image",
        model_id="nano-banana-pro",
        price_units=PRICE_UNITS,
        created_at=now,
    )
    return Envelope.of(
        event,
        event_id=event_id,
        subject=f"task-{task_id}",
        version=1,
        time=now,
        correlation_id=f"req_{task_id.hex}",
    )


def seconds_since(event_id: UUID) -> float:
    """Since a UUIDv7 of ours was made, to about a microsecond."""
    made_s = ((event_id.int >> 80) + (event_id.int >> 64 & 0xFFF) / 4_096) / 1_000
    return SystemClock().now().timestamp() - made_s


async def feed(prefix: str, per_s: float, count: int) -> None:
    bus = RabbitMQBus(RABBITMQ, prefix=prefix)
    await bus.start()
    accounts = drawn_accounts(count)
    await at_a_rate(lambda nth: bus.publish(task_created(accounts[nth])), per_s=per_s, count=count)
    await bus.stop()


def main(prefix: str, per_s: str, count: str) -> None:
    with Path(os.devnull).open("w") as nowhere:
        logs.configure("INFO", nowhere)
        collect_garbage_rarely()  # a look for garbage would be a burst after it
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(feed(prefix, float(per_s), int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
