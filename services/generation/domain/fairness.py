"""Whose turn it is in a lane: what one key of a provider may be asked at once is shared fairly.

A lane is the platform's key of a provider, or one user's own. Knows no clock and no database.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What a vendor takes of one key: `submits` in any `window_s` seconds, `at_once` jobs that have
    not ended, `looks_per_s` questions after them; None for what it does not limit."""

    at_once: int | None = None
    submits: int | None = None
    window_s: float = 0.0
    looks_per_s: float | None = None

    def room(self, running: int, submitted: int) -> int | None:
        """How many jobs may be submitted now, of which `running` have not ended and `submitted`
        were submitted within the window; None for any number."""
        rooms = []
        if self.at_once is not None:
            rooms.append(self.at_once - running)
        if self.submits is not None:
            rooms.append(self.submits - submitted)
        return max(0, min(rooms)) if rooms else None


UNLIMITED = LaneLimits()


@dataclass(frozen=True, slots=True)
class Turn:
    """One user in a lane: `waiting` jobs are due, the first since `due_at`; `running` have not
    ended; the last was submitted at `served_at`, None for never."""

    user_id: UUID
    waiting: int
    running: int
    served_at: datetime | None
    due_at: datetime


def shares(turns: Sequence[Turn], room: int) -> Mapping[UUID, int]:
    """How many of each user's jobs are begun, of `room` in all.

    Each place goes to who has the fewest running, of those to who was served the longest ago, of
    those to who has waited longest: one user's five hundred jobs hold nobody else up.
    """
    queue = [(_rank(turn, 0), turn.user_id, turn) for turn in turns if turn.waiting]
    heapq.heapify(queue)
    begun: dict[UUID, int] = {}
    for _ in range(room):
        if not queue:
            break
        _, user_id, turn = queue[0]
        begun[user_id] = begun.get(user_id, 0) + 1
        if begun[user_id] < turn.waiting:
            heapq.heapreplace(queue, (_rank(turn, begun[user_id]), user_id, turn))
        else:
            heapq.heappop(queue)
    return begun


def _rank(turn: Turn, begun: int) -> tuple[int, bool, float, float]:
    """Who is served now is served last among those with as many."""
    served_s = turn.served_at.timestamp() if turn.served_at is not None else 0.0
    if begun:
        served_s = float("inf")
    return (
        turn.running + begun,
        turn.served_at is not None or begun > 0,
        served_s,
        (turn.due_at.timestamp()),
    )
