"""Deletes records whose time is over, once a minute; nothing relies on when."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from kernel.sql import DATABASE_AWAY

SWEEP_EVERY_S: Final = 60.0

_log = structlog.get_logger(__name__)


async def sweep_for_ever(sweeps: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run each in turn until cancelled."""
    while True:
        try:
            for sweep in sweeps:
                await sweep()
        except (*DATABASE_AWAY, TimeoutError) as error:
            _log.warning("sweep_failed", error=type(error).__name__)
        await asyncio.sleep(SWEEP_EVERY_S)
