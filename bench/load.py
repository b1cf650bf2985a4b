"""Load: as much as can be done at once, or so much a second whatever that takes."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import perf_counter, process_time
from typing import Any

from bench.repetitions import Figures

Act = Callable[[int], Coroutine[Any, Any, None]]
"""Does the nth."""


async def as_fast_as_possible(
    act: Callable[[int], Awaitable[object]], *, at_once: int, for_s: float
) -> Figures:
    """`at_once` loops of `act(nth loop)`: how many a second, how long one took, and what it cost
    this process: the figure that others on the machine disturb least."""
    took_s: list[float] = []
    began_s, began_cpu_s = perf_counter(), process_time()
    end_s = began_s + for_s

    async def again_and_again(nth: int) -> None:
        while (start_s := perf_counter()) < end_s:
            await act(nth)
            took_s.append(perf_counter() - start_s)

    await asyncio.gather(*(again_and_again(nth) for nth in range(at_once)))
    return {
        **rate(len(took_s), perf_counter() - began_s, process_time() - began_cpu_s),
        **latency_ms(took_s),
    }


def rate(count: int, seconds: float, cpu_s: float) -> Figures:
    return {"per_s": count / seconds, "client_cpu_us": cpu_s / count * 1_000_000}


async def at_a_rate(act: Act, *, per_s: float, count: int) -> None:
    """Begin `act(nth)` on schedule, `count` times; return when all have ended."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    begun: list[asyncio.Task[None]] = []
    for nth in range(count):
        late_s = loop.time() - (began_s + nth / per_s)
        if late_s < 0:
            await asyncio.sleep(-late_s)
        begun.append(asyncio.create_task(act(nth)))
    await asyncio.gather(*begun)


async def so_many_at_once(act: Act, *, at_once: int, count: int) -> None:
    """`act(nth)` for each of `count`, at most `at_once` of them at a time."""
    numbers = iter(range(count))

    async def one_after_another() -> None:
        for nth in numbers:
            await act(nth)

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


def latency_ms(seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"p{nth}_ms": round(cuts[nth - 1] * 1_000, 2) for nth in (50, 95, 99)}
