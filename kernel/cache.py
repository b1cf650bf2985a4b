"""A bounded memory: the least recently used goes first, and nothing outlives its lifetime."""

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most `size_max` values, each for `lifetime` since it was true."""

    def __init__(self, size_max: int, lifetime: timedelta) -> None:
        self._size_max = size_max
        self._lifetime = lifetime
        self._entries: OrderedDict[K, tuple[datetime, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: datetime) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        since, value = entry
        # A clock set back must not make an entry live longer, so the future is no better.
        if not since <= now < since + self._lifetime:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, since: datetime) -> None:
        self._entries[key] = (since, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()
