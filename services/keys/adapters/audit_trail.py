"""Writes the audit log: what was done commits with its entry, what was refused has its own.

Where a request came from is a personal record beside the entry, which holds no more than a salted
hash of it: erasing a person leaves their chain whole.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from kernel.clock import random_token
from kernel.encryption import Encryption, Personal
from kernel.errors import Error
from kernel.event_store import EventStore
from kernel.http import Client, Identity
from kernel.unit import Unit
from services.keys.domain import USER
from services.keys.domain.audit import AUDIT_LOG, AUDITING, SUCCEEDED, Action, RecordEntry

SALT_BYTES: Final = 16
_REFUSALS_BELOW: Final = 500
_UNSEALED: Final = """
    INSERT INTO keys.audit_unsealed AS known (user_id, length, sha256, since)
        VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id) DO UPDATE SET length = excluded.length, sha256 = excluded.sha256"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that a person, or somebody in their name, tries; `user_id` is whose log it is."""

    user_id: UUID
    actor_id: UUID
    actor_key_id: UUID | None
    action: Action
    client: Client
    key_id: UUID | None = None

    @classmethod
    def by(
        cls, caller: Identity, client: Client, action: Action, key_id: UUID | None = None
    ) -> "Attempt":
        """The caller's own doing, in the caller's own log."""
        return cls(caller.user_id, caller.user_id, caller.key_id, action, client, key_id)

    @classmethod
    def in_the_name_of(
        cls, user_id: UUID | None, digest: bytes, client: Client, action: Action
    ) -> "Attempt":
        """Of somebody who has yet to show who they are, in the log of whom they name.

        Who names nobody has an entry all the same, so that both cost alike: in one of 256 logs,
        chosen by what they gave (`digest`), so that none of them is hot.
        """
        whose = UUID(int=digest[0]) if user_id is None else user_id
        return cls(whose, whose, None, action, client)


def client_ref(sequence: int) -> str:
    """The personal record of where entry `sequence` came from."""
    return f"audit-{sequence}"


class AuditTrail:
    def __init__(self, store: EventStore, encryption: Encryption) -> None:
        self._store = store
        self._personal = Personal(store.schema, encryption)

    async def queue(self, unit: Unit, user_id: UUID) -> None:
        """Read the head of the user's log, which `note` then moves: records of theirs that are read
        after this are the same when the unit commits, if all who change them note it too."""
        await unit.state(AUDIT_LOG, AUDIT_LOG.stream_id(user_id))

    async def note(self, unit: Unit, attempt: Attempt, outcome: str = SUCCEEDED) -> None:
        """Enter `attempt` in the transaction of what it did.

        Whose log it is may have been erased a moment ago: where they are now is not kept any more.
        """
        salt = random_token(SALT_BYTES).hex()
        told = json.dumps([salt, attempt.client.address, attempt.client.agent])
        command = RecordEntry(
            user_id=attempt.user_id,
            actor_id=attempt.actor_id,
            actor_key_id=attempt.actor_key_id,
            action=attempt.action.value,
            key_id=attempt.key_id,
            outcome=outcome,
            client_sha256=hashlib.sha256(told.encode()).hexdigest(),
            request_id=unit.origin.correlation_id,
            at=unit.now,
        )
        log_id, user_id = (one.stream_id(attempt.user_id) for one in (AUDIT_LOG, USER))
        await unit.load({log_id: AUDIT_LOG, user_id: USER})
        (recorded,) = await unit.decide(AUDITING, log_id, command)
        entry = recorded.event
        unit.record_sql(_UNSEALED, entry.user_id, entry.sequence, entry.sha256, unit.now)
        if (await unit.state(USER, user_id)).erased_at is None:
            ref = client_ref(entry.sequence)
            await self._personal.keep(unit, attempt.user_id, ref, told)

    async def note_alone(self, attempt: Attempt, outcome: str = SUCCEEDED) -> None:
        """The same where nothing else is written."""

        async def work(unit: Unit) -> None:
            await self.note(unit, attempt, outcome)

        await self._store.transact(work)

    async def clients(self, user_id: UUID, sequences: Sequence[int]) -> dict[int, Client]:
        """Where entries of a log came from; nothing of those whose record is erased."""
        refs = {client_ref(sequence): sequence for sequence in sequences}
        async with self._store.database.connection() as connection:
            told = await self._personal.read(connection, user_id, list(refs))
        clients = {}
        for ref, text in told.items():
            _, address, agent = json.loads(text)
            clients[refs[ref]] = Client(address, agent)
        return clients

    @asynccontextmanager
    async def refusals(self, attempt: Attempt) -> AsyncIterator[None]:
        """Enter `attempt` with the code of whatever refusal leaves the block, and let it go on."""
        try:
            yield
        except Error as error:
            if error.status < _REFUSALS_BELOW:
                await self.note_alone(attempt, error.code)
            raise
