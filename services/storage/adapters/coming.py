"""How much each user is sending at this moment, before anybody knows whether it is kept.

It lies on the disk of this process meanwhile, and counts for no quota yet: without a bound, who
sends much at once and finishes nothing would fill the disk.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from kernel.errors import RateLimited

BEYOND_ROOM_BYTES: Final = 1 << 30
"""So much more than there is room for may be on its way: of many at once not all are kept."""
FETCHES_AT_ONCE_MAX: Final = 4
"""Of one user: how large what lies at an address is, nobody knows before."""
AGAIN_AFTER_S: Final = 5


class Coming:
    """Of one process."""

    def __init__(self) -> None:
        self._bytes: Counter[UUID] = Counter()
        self._fetches: Counter[UUID] = Counter()

    @contextmanager
    def sent(self, user_id: UUID, bytes_max: int, room_bytes: int) -> Iterator[None]:
        """While at most `bytes_max` are sent by a user who has room for `room_bytes`.

        Raises RateLimited (`too_many_uploads`).
        """
        if self._bytes[user_id] + bytes_max > room_bytes + BEYOND_ROOM_BYTES:
            raise _too_many()
        with _counted(self._bytes, user_id, bytes_max):
            yield

    @contextmanager
    def fetched(self, user_id: UUID) -> Iterator[None]:
        """While something is fetched for the user. Raises RateLimited (`too_many_uploads`)."""
        if self._fetches[user_id] >= FETCHES_AT_ONCE_MAX:
            raise _too_many()
        with _counted(self._fetches, user_id, 1):
            yield


@contextmanager
def _counted(counts: Counter[UUID], user_id: UUID, number: int) -> Iterator[None]:
    counts[user_id] += number
    try:
        yield
    finally:
        counts[user_id] -= number
        if not counts[user_id]:
            del counts[user_id]


def _too_many() -> RateLimited:
    return RateLimited(
        "too_many_uploads", "Too much is being uploaded at once.", retry_after_s=AGAIN_AFTER_S
    )
