"""Repetitions: each case in its turn, several times over; medians, the machine, the result file.

A bench says what to compare. How often it is run, on what machine, how quiet that was, and where
the figures go is the same for all.
"""

import asyncio
import json
import os
import platform
import signal
import statistics
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import psutil
import uvloop

from bench.quiet import Others, Quiet
from kernel import logs
from kernel.runtime import collect_garbage_rarely

RESULTS: Final = Path(__file__).parent / "results"
REPETITIONS: Final = 3
SEED: Final = 20_261
"""Of all that is drawn, so that each run does the same."""

Figures = Mapping[str, float]
"""What one repetition found: rates end in `_per_s`, times in `_ms`."""
Medians = Mapping[str, Mapping[str, Any]]
"""By case, then by figure: the median, and all of them."""


@dataclass(frozen=True)
class Case:
    """Ours or a peer's: `measure` prepares, measures, and leaves nothing behind."""

    name: str
    measure: Callable[[], Awaitable[Figures]]


@dataclass(frozen=True)
class Row:
    """A line of the README's table: `ratio` first, because it says least about the machine."""

    what: str
    ratio: str
    here: str
    goal: str


def machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average_at_start": [round(load, 2) for load in os.getloadavg()],
    }


def median(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(values), 2),
        "all": [round(value, 2) for value in values],
    }


async def repeated(cases: Sequence[Case]) -> dict[str, Any]:
    """All cases in turn, `REPETITIONS` times, so that a slow minute slows a case and its peer."""
    quiet = Quiet()
    found: dict[str, list[Figures]] = {case.name: [] for case in cases}
    others: dict[str, list[float]] = {case.name: [] for case in cases}
    waited_s = 0.0
    for _ in range(REPETITIONS):
        for case in cases:
            waited_s += await quiet.wait()
            busy = Others()
            found[case.name].append(await case.measure())
            others[case.name].append(busy.percent())
    return {
        "cases": {name: _medians(runs) for name, runs in found.items()},
        "processors_used_by_others_percent": others,
        "waited_for_quiet_s": round(waited_s, 1),
    }


def _medians(runs: Sequence[Figures]) -> dict[str, Any]:
    return {figure: median([run[figure] for run in runs]) for figure in runs[0]}


def ratio(cases: Medians, figure: str, of: str, to: str) -> float:
    """Of two medians."""
    return round(float(cases[of][figure]["median"]) / float(cases[to][figure]["median"]), 2)


def run(name: str, measure: Callable[[], Coroutine[Any, Any, Mapping[str, Any]]]) -> int:
    """The main function of a bench: on uvloop and with rare looks for garbage, as the services, and
    with their log lines, which nobody reads."""
    with Path(os.devnull).open("w") as nowhere:
        _log_to(nowhere)
        collect_garbage_rarely()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            at_start = machine()
            return write(name, {"machine": at_start, **runner.run(_until_told(measure))})


async def _until_told(
    measure: Callable[[], Coroutine[Any, Any, Mapping[str, Any]]],
) -> Mapping[str, Any]:
    """SIGTERM cancels, so that databases and queues are removed."""
    task = asyncio.current_task()
    assert task is not None, "this runs in one"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measure()


def _log_to(stream: TextIO) -> None:
    logs.configure("INFO", stream)


def write(name: str, result: Mapping[str, Any]) -> int:
    """Print the result and keep it."""
    text = json.dumps(result, indent=2, default=asdict)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(f"{text}\n")
    sys.stdout.write(f"{text}\n")
    return 0
