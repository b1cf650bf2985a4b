"""Limits shared by all gateways while Redis answers, and this process's own while it does not.

Each request is counted here first. So whoever is over the limit at this gateway alone costs Redis
nothing, and when Redis goes away the count goes on from what this gateway has seen. What is allowed
then: at most the limit at each gateway.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog
from prometheus_client import Gauge

from kernel.rates import Rate, RateClass
from kernel.service import Closable
from kernel.telemetry.metrics import REGISTRY
from services.gateway.adapters.limits import Charge, Limits, LimitsUnavailable, Verdict
from services.gateway.adapters.memory_limits import MemoryLimits

LOOK_AGAIN_S: Final = 1.0
"""How long Redis is left alone after it failed."""
FALLBACK: Final = Gauge(
    "smartspec_rate_limit_fallback",
    "Is 1 while limits are counted in this process alone, since Redis does not answer, else 0.",
    registry=REGISTRY,
)
_PROBE: Final = (Charge(RateClass.API, "probe", Rate(1, 1)),)

_log = structlog.get_logger(__name__)


class SharedLimits(Limits, Closable, Protocol):
    """Limits that other processes count on too, at the end of a connection."""


class FallbackLimits:
    """`shared` as long as it answers; a request that it does not answer is decided by `local`."""

    def __init__(
        self, shared: SharedLimits, local: MemoryLimits, look_again_s: float = LOOK_AGAIN_S
    ) -> None:
        self._shared = shared
        self._local: Limits = local
        self._look_again_s = look_again_s
        self._looking: asyncio.Task[None] | None = None
        FALLBACK.set(0)

    @property
    def away(self) -> bool:
        """Whether Redis is left alone just now."""
        return self._looking is not None

    async def take(self, charges: Sequence[Charge]) -> Verdict:
        """Never raises `LimitsUnavailable`, and waits for Redis no longer than its time-out."""
        here = await self._local.take(charges)
        if here.refused is not None or self.away:
            return here
        try:
            verdict = await self._shared.take(charges)
        except LimitsUnavailable as error:
            self._fall_back(error)
            return here
        if verdict.refused is not None:
            await self._local.give_back(charges)
        return verdict

    async def give_back(self, charges: Sequence[Charge]) -> None:
        await self._local.give_back(charges)
        if not self.away:
            with suppress(LimitsUnavailable):
                await self._shared.give_back(charges)

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._shared.aclose()

    def _fall_back(self, error: LimitsUnavailable) -> None:
        if self.away:  # of many that waited together, the first has said it
            return
        _log.error("rate_limits_not_shared", error=str(error))
        FALLBACK.set(1)
        self._looking = asyncio.create_task(self._look_again())

    async def _look_again(self) -> None:
        """Until a request is counted there again: one that takes connections alone is no use."""
        while True:
            await asyncio.sleep(self._look_again_s)
            with suppress(LimitsUnavailable):
                await self._shared.take(_PROBE)
                break
        self._looking = None
        FALLBACK.set(0)
        _log.info("rate_limits_shared_again")
