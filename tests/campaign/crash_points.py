"""Named points at which a service dies when it is told to; installed from outside, not in it.

A point is armed by a file of its name in a folder that all processes share: whoever comes there
first takes the file away and is killed, as `kill -9` would at that very moment.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiormq.abc import DeliveredMessage

from contracts.envelope import Envelope
from kernel.bus import rabbitmq
from kernel.bus.amqp import PERSISTENT
from kernel.bus.channels import Hearing
from kernel.inbox import Inbox
from kernel.outbox import Publisher
from kernel.unit import Unit
from services.generation.adapters.due_list import DueList as Jobs
from services.generation.adapters.lanes import Lanes
from services.storage.adapters.due_list import DueList as Fetches

AFTER_COMMIT: Final = "after_commit_before_ack"
AFTER_PUBLISH: Final = "after_publish_before_confirm"
MID_BATCH: Final = "mid_batch"
IN_OUTBOX_SWEEP: Final = "in_the_sweeper_of_outbox"
IN_INBOX_SWEEP: Final = "in_the_sweeper_of_inbox"
IN_JOB_SWEEP: Final = "in_the_sweeper_of_jobs"
IN_FETCH_SWEEP: Final = "in_the_sweeper_of_fetches"
POINTS: Final = (
    AFTER_COMMIT,
    AFTER_PUBLISH,
    MID_BATCH,
    IN_OUTBOX_SWEEP,
    IN_INBOX_SWEEP,
    IN_JOB_SWEEP,
    IN_FETCH_SWEEP,
)
SENT_AFTER_S: Final = 0.002
"""Long enough for a frame to reach the socket; the confirm takes longer."""


class Armed:
    """The folder of armed points."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, point: str) -> None:
        (self._folder / point).touch()

    def disarm(self, point: str) -> bool:
        """Whether it was armed still, and so nobody died there."""
        try:
            (self._folder / point).unlink()
        except FileNotFoundError:
            return False
        return True

    def is_armed(self, point: str) -> bool:
        return (self._folder / point).exists()

    def reach(self, point: str) -> None:
        if self.disarm(point):
            os.kill(os.getpid(), signal.SIGKILL)


def install(armed: Armed) -> None:
    """Put every point into the classes of this process."""
    _before_acks(armed)
    _before_confirms(armed)
    _inside_batches(armed)
    _after_claims(armed, Publisher, "_claim", IN_OUTBOX_SWEEP)
    _after_claims(armed, Inbox, "retry_due", IN_INBOX_SWEEP)
    _after_claims(armed, Jobs, "claim", IN_JOB_SWEEP)
    _after_claims(armed, Lanes, "claim", IN_JOB_SWEEP)
    _after_claims(armed, Fetches, "claim", IN_FETCH_SWEEP)


def _before_acks(armed: Armed) -> None:
    acknowledge = rabbitmq._acknowledge

    async def dying(hearing: Hearing, message: DeliveredMessage) -> None:
        if message.header.properties.delivery_mode == PERSISTENT:
            armed.reach(AFTER_COMMIT)
        await acknowledge(hearing, message)

    _put(rabbitmq, "_acknowledge", dying)


def _before_confirms(armed: Armed) -> None:
    publish = rabbitmq.RabbitMQBus.publish

    async def dying(self: rabbitmq.RabbitMQBus, envelope: Envelope) -> None:
        if not armed.is_armed(AFTER_PUBLISH):
            await publish(self, envelope)
            return
        publishing = asyncio.ensure_future(publish(self, envelope))
        await asyncio.sleep(SENT_AFTER_S)
        armed.reach(AFTER_PUBLISH)
        await publishing

    _put(rabbitmq.RabbitMQBus, "publish", dying)


def _inside_batches(armed: Armed) -> None:
    together = Inbox._handle_together

    async def dying(self: Inbox, messages: Sequence[Any]) -> None:
        if len(messages) > 1 and armed.is_armed(MID_BATCH):
            last = messages[-1]

            async def die(event: Any, unit: Unit) -> None:
                armed.reach(MID_BATCH)
                await last.subscription.handle(event, unit)

            dying_last = replace(last, subscription=replace(last.subscription, handle=die))
            messages = [*messages[:-1], dying_last]
        await together(self, messages)

    _put(Inbox, "_handle_together", dying)


def _after_claims(armed: Armed, owner: type, name: str, point: str) -> None:
    claim: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def dying(self: Any, *arguments: Any, **named: Any) -> Any:
        claimed = await claim(self, *arguments, **named)
        if claimed:
            armed.reach(point)
        return claimed

    _put(owner, name, dying)


def _put(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    setattr(owner, name, replacement)
