"""Keeps a lease while work goes on, however long that takes; knows no table."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from kernel.sql import DATABASE_AWAY


@asynccontextmanager
async def leased(renew: Callable[[], Awaitable[object]], every_s: float) -> AsyncIterator[None]:
    """`renew` is called `every_s` until the end; a database that is away is asked again."""
    keeping = asyncio.create_task(_keep(renew, every_s))
    try:
        yield
    finally:
        keeping.cancel()


async def _keep(renew: Callable[[], Awaitable[object]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        with suppress(*DATABASE_AWAY):
            await renew()
