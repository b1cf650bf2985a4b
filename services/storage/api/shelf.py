"""What the routes of files share: who asks, which file is theirs, and how it is shown."""

from dataclasses import dataclass

from kernel.clock import Clock
from kernel.http import Idempotency, Identity
from kernel.objects import ObjectStore
from kernel.outbound import Outbound
from kernel.sql import Database
from services.storage.adapters.accepting import Accepting
from services.storage.adapters.coming import Coming
from services.storage.adapters.deleting import Deleting
from services.storage.adapters.intake import Intake
from services.storage.adapters.uploads import Owner
from services.storage.api.serving import no_such_file
from services.storage.api.words import LINK_LIVES_FOR, UploadAnswer, file_values
from services.storage.domain import Quotas
from services.storage.read_model import File, file_of


@dataclass(frozen=True, slots=True)
class Shelf:
    """`upload_bytes_max` is of one upload, whatever the quota; `units_per_gb_month` is the price of
    storage in 1/10,000 credit."""

    database: Database
    objects: ObjectStore
    outbound: Outbound
    accepting: Accepting
    coming: Coming
    intake: Intake
    deleting: Deleting
    idempotency: Idempotency
    quotas: Quotas
    upload_bytes_max: int
    units_per_gb_month: int
    clock: Clock

    def link(self, key: str) -> str:
        return self.objects.link(key, expires_at=self.clock.now() + LINK_LIVES_FOR)

    async def own(self, caller: Identity, key: str) -> File:
        """The caller's file. Raises `NotFound` for any other key."""
        # A key that PostgreSQL can't take as text is nobody's.
        file = None if "\0" in key else await file_of(self.database, caller.user_id, key)
        if file is None:
            raise no_such_file()
        return file

    async def answer(self, caller: Identity, key: str) -> UploadAnswer:
        return UploadAnswer(**file_values(await self.own(caller, key), self.link))


def owner_of(caller: Identity) -> Owner:
    return Owner(caller.user_id, caller.account_id, caller.plan)
