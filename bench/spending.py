"""Where processor time goes: by process of the product, and by server. Others on the machine hardly
change these figures, unlike those of a clock."""

from collections import defaultdict
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import psutil

from bench.servers import RABBITMQ

SERVICE: Final = "services."
AMQP_PORT: Final = 5_672


Spent = defaultdict[str, float]
"""Seconds by name."""


class Spending:
    """Of the processes under `pid`, the backends of `database`, and the broker, since it began."""

    def __init__(self, pid: int, database: asyncpg.Connection) -> None:
        self._pid = pid
        self._database = database
        self._began: Spent = defaultdict(float)

    async def begin(self) -> None:
        self._began = await self._spent()

    async def cpu_ms(self, *, each_of: int) -> dict[str, float]:
        """By name, a share for each of so many tasks."""
        spent = await self._spent()
        return {
            f"cpu_ms_{name}": round((seconds - self._began[name]) * 1_000 / each_of, 2)
            for name, seconds in sorted(spent.items())
        }

    async def _spent(self) -> Spent:
        spent: Spent = defaultdict(float)
        for process in psutil.Process(self._pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                spent[_name(process)] += _cpu_s(process)
        rows = await self._database.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        )
        for row in rows:
            with suppress(psutil.NoSuchProcess):
                spent["postgresql"] += _cpu_s(psutil.Process(row["pid"]))
        spent["rabbitmq"] = _cpu_s(_listening(urlsplit(RABBITMQ).port or AMQP_PORT))
        return spent


def _name(process: psutil.Process) -> str:
    """`credits` of `python -m services.credits`; its workers count with it."""
    modules = [word for word in process.cmdline() if word.startswith(SERVICE)]
    return modules[0].split(".")[1] if modules else "other"


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _listening(port: int) -> psutil.Process:
    """The server on this machine; raises StopIteration where it is elsewhere."""
    return next(
        psutil.Process(one.pid)
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    )
