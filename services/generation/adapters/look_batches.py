"""Looks of which nothing came are recorded together: thousands of jobs go on each second."""

import asyncio

from services.generation.adapters.due_list import DueList, LookLater


class LookBatches:
    """One statement is under way at a time; what comes meanwhile is the next one."""

    def __init__(self, due: DueList) -> None:
        self._due = due
        self._batch: list[LookLater] = []
        self._writing = asyncio.Lock()

    async def record(self, later: LookLater) -> None:
        """Returns when it is recorded. If the statement fails, whoever ran it hears of that; the
        leases of the others run out."""
        batch = self._batch
        batch.append(later)
        async with self._writing:
            if batch is self._batch:
                self._batch = []
                await self._due.look_later(batch)
