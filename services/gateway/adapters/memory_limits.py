"""Moving windows in this process: exact for one gateway, and what is left when Redis is away.

Our own and not `limits.aio`'s: that one has no bound on subjects, can't give back, reads its own
clock, and goes over all subjects in a thread while requests come.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from kernel.clock import Clock
from services.gateway.adapters.limits import Charge, Count, Verdict

SUBJECTS_MAX: Final = 20_000
"""About 1.2 kB each. Beyond, whoever has been quiet for longest begins anew."""

_Window = deque[float]
"""The times of the requests that count, oldest first, in seconds of Unix time."""


class MemoryLimits:
    """Windows of the `subjects_max` subjects that were counted last."""

    def __init__(self, clock: Clock, subjects_max: int = SUBJECTS_MAX) -> None:
        self._clock = clock
        self._subjects_max = subjects_max
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    async def take(self, charges: Sequence[Charge]) -> Verdict:
        """Nothing is awaited, so nobody comes between the look and the count."""
        now_s = self._clock.now().timestamp()
        windows = [self._window(charge, now_s) for charge in charges]
        paired = list(zip(charges, windows, strict=True))
        room = all(len(window) < charge.rate.amount for charge, window in paired)
        if room:
            for window in windows:
                window.append(now_s)
        counts = tuple(_count(charge, window, now_s) for charge, window in paired)
        refused = None if room else next(count for count in counts if count.remaining == 0)
        return Verdict(counts, refused)

    async def give_back(self, charges: Sequence[Charge]) -> None:
        for charge in charges:
            window = self._windows.get(charge.key)
            if window:
                window.pop()

    def _window(self, charge: Charge, now_s: float) -> _Window:
        """The subject's own, without what counts no more; a clock set back leaves nothing of a
        time that has not come, or it would count for too long."""
        key = charge.key
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = deque()
            if len(self._windows) > self._subjects_max:
                self._windows.popitem(last=False)
            return window
        self._windows.move_to_end(key)
        begins_s = now_s - charge.rate.period_s
        while window and window[0] < begins_s:
            window.popleft()
        while window and window[-1] > now_s:
            window.pop()
        return window


def _count(charge: Charge, window: _Window, now_s: float) -> Count:
    resets_at_s = window[0] + charge.rate.period_s if window else now_s
    return Count(charge, max(0, charge.rate.amount - len(window)), resets_at_s)
