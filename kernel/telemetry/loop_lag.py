"""How late the event loop is: a sleeper that notes when it was woken."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from kernel.telemetry.metrics import LOOP_LAG

LOOK_EVERY_S: Final = 0.25


class LoopLag:
    """One for each process; what it costs is one timer and one observation each `every_s`."""

    def __init__(
        self, every_s: float = LOOK_EVERY_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self._every_s = every_s
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due_s = self._clock() + self._every_s
            await asyncio.sleep(self._every_s)
            LOOP_LAG.observe(max(0.0, self._clock() - due_s))
