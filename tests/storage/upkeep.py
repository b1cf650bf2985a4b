"""What storage does by itself, over the service's HTTP side, step by step and by a turned clock."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from contracts.keys import UserErased
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.testing import FakeClock, envelope_of
from services.storage.adapters.accepting import Accepting
from services.storage.adapters.deleting import Deleting
from services.storage.adapters.erasing import Erasing
from services.storage.adapters.erasures import ERASURES
from services.storage.adapters.expiring import Expiring
from services.storage.adapters.intake import Intake
from services.storage.adapters.orphans import YOUNG, Orphans
from services.storage.adapters.sandbox import Studio
from services.storage.adapters.unwanted import Unwanted
from services.storage.domain import Quotas
from services.storage.inbox import subscriptions
from tests.storage.keeping import Kept
from tests.storage.uploading import Storage

__all__ = ["Upkeep", "upkeep"]


class Upkeep:
    """`files` makes files without HTTP, on the same storage."""

    def __init__(self, storage: Storage, clock: FakeClock) -> None:
        assert storage.service.store is not None
        self.storage = storage
        self.clock = clock
        self.store = storage.service.store
        self.studio = Studio()
        self.unwanted = Unwanted(storage.database, storage.objects, clock)
        accepting = Accepting(self.studio, storage.objects.incoming)
        quotas = Quotas({"*": 10**9})
        self.intake = Intake(self.store, storage.objects, accepting, self.unwanted, quotas)
        self.expiring = Expiring(storage.database, self.intake, clock)
        self.deleting = Deleting(self.store, self.unwanted)
        erasing = Erasing(self.store, storage.objects, self.deleting, self.intake.end)
        self.erasures = Leavers(storage.database, clock, ERASURES, erasing.erase)
        self.files = Kept(self.store, storage.objects, clock, storage.root)

    async def attend(self) -> None:
        """Everything that is due now."""
        while (
            await self.expiring.end_expired()
            + await self.unwanted.delete_due()
            + await self.erasures.attend()
        ):
            pass

    async def go_on(self, whole: timedelta, by: timedelta = timedelta(minutes=1)) -> None:
        """Do so again and again, for as long."""
        end = self.clock.now() + whole
        while self.clock.now() < end:
            self.clock.turn(by)
            await self.attend()

    async def erase(self, user_id: UUID) -> None:
        """The word of it, and what is due then."""
        await self.hear_of_erasure(user_id)
        await self.attend()

    async def hear_of_erasure(self, user_id: UUID) -> None:
        inbox = Inbox("storage", self.store, subscriptions(), tries_after_s=())
        await inbox.maintain()
        now = self.clock.now()
        message = UserErased(user_id=user_id, account_id=user_id, erased_at=now)
        await inbox.receive(envelope_of(message))
        assert await inbox.parked() == []

    async def findings(self) -> list[str]:
        """What a sweep finds once nothing is young any more."""
        self.clock.turn(YOUNG + timedelta(minutes=1))
        look = Orphans(self.storage.database, self.storage.objects, self.clock)
        return [finding.words() async for finding in look.found()]


@pytest.fixture
async def upkeep(storage: Storage, clock: FakeClock) -> AsyncIterator[Upkeep]:
    upkeep = Upkeep(storage, clock)
    yield upkeep
    await upkeep.studio.aclose()
