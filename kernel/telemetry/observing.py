"""A process that can be observed: while it works its spans are sent, its loop's lag measured."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, TypeVar

import structlog

from kernel.telemetry import tracing
from kernel.telemetry.loop_lag import LoopLag

T = TypeVar("T")

FLUSH_TIMEOUT_S: Final = 2.0
MEMORY: Final = "memory"
RABBITMQ: Final = "rabbitmq"
"""`messaging.system` of the bus of one process, and of the broker's."""

_log = structlog.get_logger(__name__)


async def observed(
    work: Coroutine[Any, Any, T], endpoint: str | None, messaging_system: str = MEMORY
) -> T:
    """Run `work`. With an `endpoint` spans are made and sent there by OTLP over HTTP, and what
    waits at the end is given `FLUSH_TIMEOUT_S`; `messaging_system` is what the bus is called."""
    lag = asyncio.create_task(LoopLag().run())
    try:
        with nullcontext() if endpoint is None else _traced(endpoint, messaging_system):
            return await work
    finally:
        lag.cancel()
        with suppress(asyncio.CancelledError):
            await lag


@contextmanager
def _traced(endpoint: str, messaging_system: str) -> Iterator[None]:
    from kernel.telemetry.exporting import Exporting  # noqa: PLC0415 - 0.2 s that most do without

    exporting = Exporting.to_collector(endpoint, messaging_system)
    tracing.export_to(exporting)
    try:
        yield
    finally:
        tracing.export_to(None)
        if not exporting.close(FLUSH_TIMEOUT_S):
            _log.warning("spans_not_sent")
