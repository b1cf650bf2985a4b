"""Keys as they are looked at, by their owner or by an admin."""

from uuid import UUID

import asyncpg

from kernel.clock import Clock
from kernel.errors import Invalid
from kernel.identifiers import parsed, shown
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import KeyUsage
from services.keys.api.key_answers import (
    DryRunAnswer,
    KeyAnswer,
    KeyBody,
    KeysAnswer,
    key_body,
    usage_body,
)
from services.keys.domain import key_not_found


class KeyViews:
    """Queries on the read model and on who used what; every one asks by the owner."""

    def __init__(self, database: Database, usage: KeyUsage, clock: Clock) -> None:
        self._database = database
        self._usage = usage
        self._clock = clock

    async def page(
        self, user_id: UUID, limit: int, cursor: str | None, key_format: str | None = None
    ) -> KeysAnswer:
        """Newest first; of one format, if one is named."""
        before = None if cursor is None else parsed("key", cursor)
        if cursor is not None and before is None:
            raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
        rows = await read_model.keys_of(
            self._database,
            user_id,
            limit=limit + 1,
            before=before,
            begins="" if key_format is None else f"{key_format}_",
        )
        shown_rows = rows[:limit]
        last_used = await self._usage.last_used([row["key_id"] for row in shown_rows])
        now = self._clock.now()
        return KeysAnswer(
            keys=[key_body(row, last_used.get(row["key_id"]), now) for row in shown_rows],
            next_cursor=shown("key", shown_rows[-1]["key_id"]) if len(rows) > limit else None,
        )

    async def row(self, user_id: UUID, key_id: UUID) -> asyncpg.Record:
        """Raises `NotFound` for another user's key, as for none and for one that was deleted."""
        row = await read_model.key_of(self._database, user_id, key_id)
        if row is None:
            raise key_not_found()
        return row

    async def body(self, user_id: UUID, key_id: UUID) -> KeyBody:
        row = await self.row(user_id, key_id)
        last_used = await self._usage.last_used([key_id])
        return key_body(row, last_used.get(key_id), self._clock.now())

    async def one(self, user_id: UUID, key_id: UUID) -> KeyAnswer:
        return KeyAnswer(key=await self.body(user_id, key_id))

    async def dry_run(self, user_id: UUID, key_id: UUID) -> DryRunAnswer:
        """The key as it is, and who would miss it."""
        body = await self.body(user_id, key_id)
        return DryRunAnswer(key=body, usage=usage_body(await self._usage.recent(key_id)))
