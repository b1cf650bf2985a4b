"""Binding quotes: a price that was told holds for some minutes, for the same request of the same
user. What was asked is kept as a digest; the row goes soon after it has expired."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from kernel.clock import Clock, new_id
from kernel.errors import Invalid
from kernel.identifiers import parsed, shown
from kernel.sql import Database

VALID_FOR: Final = timedelta(minutes=10)
SWEPT_MAX: Final = 100
PREFIX: Final = "quote"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a price is for; `text` where its length decides. Whose key it is made under is a part of
    it: who takes their own key away has been promised nothing for the platform's."""

    user_id: UUID
    model_id: str
    options: Mapping[str, Any]
    text: str | None
    own_key: bool

    @property
    def digest(self) -> str:
        said = (self.model_id, dict(self.options), self.text, self.own_key)
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Quotes:
    database: Database
    clock: Clock

    async def give(self, subject: Subject, price_units: int) -> tuple[str, datetime]:
        """(id as it is shown, until when it holds); takes away some that have expired."""
        quote_id, now = new_id(), self.clock.now()
        expires_at = now + VALID_FOR
        async with self.database.connection() as connection:
            await connection.execute(
                f"""
                WITH gone AS (
                    DELETE FROM generation.quotes WHERE quote_id = ANY(ARRAY(
                        SELECT quote_id FROM generation.quotes WHERE expires_at < $6
                        ORDER BY expires_at LIMIT {SWEPT_MAX} FOR UPDATE SKIP LOCKED)))
                INSERT INTO generation.quotes (quote_id, user_id, digest, price_units, expires_at)
                VALUES ($1, $2, $3, $4, $5)""",
                quote_id,
                subject.user_id,
                subject.digest,
                price_units,
                expires_at,
                now,
            )
        return shown(PREFIX, quote_id), expires_at

    async def promised_units(self, shown_id: str, subject: Subject) -> int:
        """The price that was promised for this. Raises `Invalid` where it was not."""
        quote_id = parsed(PREFIX, shown_id)
        row = None
        if quote_id is not None:
            async with self.database.connection() as connection:
                row = await connection.fetchrow(
                    "SELECT digest, price_units, expires_at FROM generation.quotes"
                    " WHERE quote_id = $1 AND user_id = $2",
                    quote_id,
                    subject.user_id,
                )
        if row is None:
            raise _refused("unknown_quote", "There is no such quote, or it has expired.")
        if row["expires_at"] <= self.clock.now():
            raise _refused("quote_expired", "The quote has expired; ask for another estimate.")
        if row["digest"] != subject.digest:
            raise _refused("quote_mismatch", "The quote was for another request.")
        return int(row["price_units"])


def _refused(code: str, message: str) -> Invalid:
    return Invalid(code, message, {"field": "quote_id"})
