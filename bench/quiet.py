"""A quiet machine: waiting for one, within bounds, and saying how quiet it stayed."""

import asyncio
import time
from contextlib import suppress
from typing import Final, NamedTuple

import psutil

QUIET_PERCENT: Final = 10.0
"""Of all processors, in use by others."""
WAIT_MAX_S: Final = 30.0
"""For all repetitions of one bench together; after it they are taken as they come."""
LOOK_EVERY_S: Final = 0.5
SERVERS: Final = ("postgres", "beam.smp")


class Quiet:
    """The patience of one bench."""

    def __init__(self) -> None:
        self._left_s = WAIT_MAX_S

    async def wait(self) -> float:
        """Until the processors are nearly idle, or the patience is used up; how many s."""
        began_s = time.monotonic()
        psutil.cpu_percent()
        while self._left_s > time.monotonic() - began_s:
            await asyncio.sleep(LOOK_EVERY_S)
            if psutil.cpu_percent() < QUIET_PERCENT:
                break
        waited_s = time.monotonic() - began_s
        self._left_s -= waited_s
        return waited_s


class Others:
    """What the processors have done since it was made for nobody of the measurement: neither for
    this process and its children nor for a server (whose, it can't tell)."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s = _busy_s()
        self._ours = _ours()

    def percent(self) -> float:
        """Of all processors."""
        then, now = self._ours, _ours()
        counted = {pid: one for pid, one in then.items() if pid in now or one.parent in now}
        ours_s = sum(one.cpu_s for one in now.values())
        ours_s -= sum(one.cpu_s for one in counted.values())
        wall_s = time.monotonic() - self._began_s
        others_s = max(0.0, _busy_s() - self._busy_s - ours_s)
        return round(100 * others_s / (wall_s * (psutil.cpu_count() or 1)), 1)


class _Used(NamedTuple):
    """Of one process, with its children that have ended."""

    parent: int
    cpu_s: float


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _ours() -> dict[int, _Used]:
    me = psutil.Process()
    servers = [one for one in psutil.process_iter(["name"]) if one.info["name"] in SERVERS]
    used = {}
    for process in {me, *me.children(recursive=True), *servers}:
        with suppress(psutil.NoSuchProcess):
            used[process.pid] = _Used(process.ppid(), sum(process.cpu_times()[:4]))
    return used
