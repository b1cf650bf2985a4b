"""Services with a planted bug, run for real: the checker names what the bug breaks."""

from pathlib import Path

from contracts.envelope import Envelope
from contracts.generation import TaskCompleted
from kernel.bus import MemoryBus
from kernel.event_store import Heard
from kernel.inbox import Inbox, Subscription
from kernel.unit import Unit
from services.credits.domain import (
    ACCOUNT,
    HOLD,
    Account,
    CommitEntered,
    Hold,
    HoldCommitted,
    LedgerEvent,
)
from services.credits.inbox import Terms, subscriptions
from tests.campaign.checker import check
from tests.campaign.invariants import Violation
from tests.campaign.small_world import Mutate, Services, live

PROMPT = ("a lighthouse at dawn",)


class RepeatingBus(MemoryBus):
    """Delivers everything twice."""

    async def publish(self, envelope: Envelope) -> None:
        await super().publish(envelope)
        await super().publish(envelope)


class LosingBus(MemoryBus):
    """Confirms what it never delivers: as good as deleting the outbox before it is published."""

    def __init__(self, lost: str) -> None:
        super().__init__()
        self._lost = lost

    async def publish(self, envelope: Envelope) -> None:
        if envelope.type != self._lost:
            await super().publish(envelope)


class ForgetfulInbox(Inbox):
    """Handles each message, and writes no row of it."""

    async def _try(self, envelope: Envelope) -> Exception | None:
        subscription = self._subscriptions[envelope.type]
        event = subscription.event.model_validate(envelope.data)
        await self._store.transact(lambda unit: subscription.handle(event, unit))
        return None


class DeafInbox(Inbox):
    """Writes the row of each message, and does nothing about some."""

    async def _try(self, envelope: Envelope) -> Exception | None:
        if envelope.type != "TaskCompleted":
            return await super()._try(envelope)

        async def nothing(_: Unit) -> None:
            return None

        await self._store.transact(nothing, heard=Heard(self.consumer, [envelope.id]))
        return None


async def charge_blindly(event: TaskCompleted, unit: Unit) -> None:
    """A ledger that trusts every message to come once."""

    def commit(account: Account, _: Hold) -> tuple[LedgerEvent, ...]:
        amount = event.charged_units
        entry = CommitEntered(
            account_id=event.account_id,
            task_id=event.task_id,
            amount_units=amount,
            released_units=0,
            granted_after=account.granted_units,
            used_after=account.used_units + amount,
            held_after=account.held_units - amount,
        )
        return entry, HoldCommitted(event.task_id, event.account_id, amount, 0)

    await unit.decide_on(
        (
            (ACCOUNT, ACCOUNT.stream_id(event.account_id)),
            (HOLD, HOLD.stream_id(event.task_id)),
        ),
        commit,
    )


def with_inbox(kind: type[Inbox], *others: Subscription) -> Mutate:
    """Credits hears by an inbox of this kind, `others` instead of its own subscriptions."""

    def mutate(services: Services) -> None:
        ledger = services["credits"]
        assert ledger.store is not None
        heard = {item.event: item for item in (*subscriptions(Terms()), *others)}
        ledger.inbox = kind("credits", ledger.store, tuple(heard.values()))

    return mutate


async def broken(dsn: str, home: Path, bus: MemoryBus, mutate: Mutate) -> list[Violation]:
    world = await live(dsn, home, prompts=PROMPT, bus=bus, mutate=mutate)
    return await check(dsn, world.objects_root, world.told, journal=world.journal)


async def test_repeats_of_every_message_break_nothing(empty_dsn: str, tmp_path: Path) -> None:
    assert await broken(empty_dsn, tmp_path, RepeatingBus(), with_inbox(Inbox)) == []


async def test_catches_an_inbox_that_writes_no_row(empty_dsn: str, tmp_path: Path) -> None:
    found = await broken(empty_dsn, tmp_path, RepeatingBus(), with_inbox(ForgetfulInbox))
    assert {v.invariant for v in found} == {5}
    assert {v.subject.split()[0] for v in found} == {
        "UserRegistered",
        "TaskCreated",
        "TaskCompleted",
    }


async def test_catches_a_ledger_that_charges_each_repeat(empty_dsn: str, tmp_path: Path) -> None:
    blind = Subscription(TaskCompleted, charge_blindly, lambda event: str(event.account_id))
    mutate = with_inbox(ForgetfulInbox, blind)
    found = await broken(empty_dsn, tmp_path, RepeatingBus(), mutate)
    assert {v.invariant for v in found} >= {2, 3, 4, 5}


async def test_catches_a_handler_that_does_nothing(empty_dsn: str, tmp_path: Path) -> None:
    found = await broken(empty_dsn, tmp_path, MemoryBus(), with_inbox(DeafInbox))
    assert {v.invariant for v in found} == {2, 4}


async def test_catches_a_message_that_is_confirmed_and_not_delivered(
    empty_dsn: str, tmp_path: Path
) -> None:
    found = await broken(empty_dsn, tmp_path, LosingBus("TaskCompleted"), with_inbox(Inbox))
    assert {v.invariant for v in found} == {2, 4, 5}
    assert [v.subject.split()[0] for v in found if v.invariant == 5] == ["TaskCompleted"]
