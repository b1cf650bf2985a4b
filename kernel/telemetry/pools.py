"""The connections of this process's database pools, counted when somebody looks."""

from collections.abc import Iterable
from typing import Final, Protocol
from weakref import WeakSet

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kernel.telemetry.metrics import REGISTRY


class Pooled(Protocol):
    """Something that holds a pool: the database."""

    def connections(self) -> tuple[int, int]:
        """How many are idle, and how many are in use."""
        ...


class PoolConnections(Collector):
    """The sum over all pools that are open here; mostly there is one."""

    def __init__(self) -> None:
        self._open: WeakSet[Pooled] = WeakSet()

    def watch(self, pooled: Pooled) -> None:
        self._open.add(pooled)

    def forget(self, pooled: Pooled) -> None:
        self._open.discard(pooled)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "smartspec_database_pool_connections",
            "Open connections to the database, by state: idle or in_use.",
            labels=("state",),
        )
        counts = [pooled.connections() for pooled in self._open]
        family.add_metric(("idle",), sum(idle for idle, _ in counts))
        family.add_metric(("in_use",), sum(in_use for _, in_use in counts))
        yield family


POOLS: Final = PoolConnections()
REGISTRY.register(POOLS)
