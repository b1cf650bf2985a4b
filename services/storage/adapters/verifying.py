"""Judges a file of anybody's: whether it was made here, by which model, when, and if it is intact.

It asks the file, in a child, and what is known of what was made here. It tells nothing of owners,
prompts and keys, nor whether somebody has uploaded the file.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from kernel.sql import Database
from services.storage.adapters.claims import Claimed, Told
from services.storage.adapters.given_marks import (
    Origin,
    origin_by_mark,
    origin_by_sha256,
)
from services.storage.adapters.sandbox import Studio
from services.storage.adapters.signers import Trusted

AT_ONCE_MAX: Final = 1
"""Children that strangers can keep busy; the others are for what users wait for."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`intact` is None where nothing says what the file was. `marked` is that there is a watermark
    of ours, `known` that it is one which was given."""

    made_here: bool
    model_id: str | None
    made_at: datetime | None
    intact: bool | None
    source_type: str | None
    mime_type: str
    claimed: Claimed
    marked: bool
    known: bool
    exact: bool


class Verifier:
    """`secrets` are those by which watermarks were made, the present one first."""

    def __init__(
        self, database: Database, studio: Studio, trusted: Trusted, secrets: Sequence[bytes]
    ) -> None:
        self._database = database
        self._studio = studio
        self._order = {
            "trusted": asdict(trusted),
            "secrets": [secret.hex() for secret in secrets],
        }
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def judge(self, path: Path, sha256: str) -> Judgement:
        """Raises what `verdicts.verdict` and `Studio.do` do."""
        async with self._room:
            answer = await self._studio.do("verify", {"path": str(path), **self._order})
        told = Told.of_json(answer)
        by_hash = await origin_by_sha256(self._database, sha256)
        by_mark = None if told.mark is None else await origin_by_mark(self._database, told.mark)
        return judged(told, by_hash, by_mark)


def judged(told: Told, by_hash: Origin | None, by_mark: Origin | None) -> Judgement:
    """The same bytes prove the most, then our signature, then a watermark that was given.

    A manifest that doesn't fit its file proves nothing: it may come from another file.
    """
    claimed = told.claimed
    origin = by_hash or by_mark
    if claimed.ours and by_hash is None and claimed.made_at is not None:
        origin = Origin(claimed.model_id, claimed.source_type, claimed.made_at)
    made_here = claimed.ours or origin is not None
    source_type = None if origin is None else origin.source_type
    if source_type is None and claimed.state != "invalid":
        source_type = claimed.source_type
    return Judgement(
        made_here=made_here,
        model_id=None if origin is None else origin.model_id,
        made_at=None if origin is None else origin.made_at,
        intact=_is_intact(claimed, exact=by_hash is not None, made_here=made_here),
        source_type=source_type or told.label,
        mime_type=told.mime_type,
        claimed=claimed,
        marked=told.mark is not None,
        known=by_mark is not None,
        exact=by_hash is not None,
    )


def _is_intact(claimed: Claimed, *, exact: bool, made_here: bool) -> bool | None:
    if exact or claimed.ours:
        return True
    if made_here or claimed.changed:
        return False
    return True if claimed.state in {"trusted", "valid"} else None
