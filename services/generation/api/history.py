"""What a task has been, from its events: never from its present row alone, so that whoever comes
back gets what there was in between."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from kernel.encryption import Personal
from kernel.event_store import EventStore
from kernel.projections import history_of
from services.generation.domain.task import TASK
from services.generation.read_model import Row, replayed

EVENTS_MAX: Final = 1_000
"""A task has a few for each attempt at each output."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a task has been: its row after each of its events, and what its owner asked for (None
    once that is erased)."""

    rows: Sequence[Row]
    request: Mapping[str, Any] | None


class Histories:
    """The past of tasks, from their events."""

    def __init__(self, store: EventStore, personal: Personal) -> None:
        self._store = store
        self._personal = personal

    async def read(self, task_id: UUID, user_id: UUID) -> Past | None:
        """Of the user's task; another user's is none, and neither is one that was removed."""
        store, stream_id = self._store, TASK.stream_id(task_id)
        async with store.database.connection() as connection:
            history = await history_of(connection, store.schema, store.codec, stream_id, EVENTS_MAX)
            rows = list(replayed(history))
            if not rows or rows[-1]["user_id"] != user_id or rows[-1]["stage"] == "removed":
                return None
            texts = await self._personal.read(connection, user_id, [stream_id])
        text = texts.get(stream_id)
        return Past(rows, None if text is None else json.loads(text))
