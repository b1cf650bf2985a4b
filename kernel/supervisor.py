"""Keeps programs running: starts them, starts anew what dies, and ends them in order.

It knows no service: a program is a command, an environment, and a port that says `/readyz`. A
program that is ready once is started again however often it dies, later and later; one that ends by
itself before it ever was has wrong settings, and ends everything.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import structlog

from kernel.processes import bound_command

AGAIN_FIRST_S: Final = 0.2
AGAIN_MAX_S: Final = 10.0
STEADY_AFTER_S: Final = 30.0
"""A program that lived so long dies as if for the first time."""
READY_LOOK_EVERY_S: Final = 0.1
SAY_NOT_READY_EVERY_S: Final = 30.0
READY_ASK_TIMEOUT_S: Final = 2.0
END_TIMEOUT_S: Final = 10.0
_READY: Final = b" 200 "

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """`environment` is added to ours. Programs of a lower `rank` are ended before the others."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    rank: int = 0


@dataclass(eq=False)
class _Life:
    """A program and its present process, if it has one."""

    program: Program
    process: asyncio.subprocess.Process | None = None
    was_ready: bool = False
    deaths: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Runs `programs`, from the main thread: a child ends with the thread that made it."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        output: BinaryIO | None = None,
        end_timeout_s: float = END_TIMEOUT_S,
    ) -> None:
        """Programs write to `output`, by default where we do."""
        self._output = output
        self._end_timeout_s = end_timeout_s
        self._lives = [_Life(program) for program in programs]
        self._stop = asyncio.Event()
        self._failed = False

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> bool:
        """Until a signal or `stop`; `on_ready` is called when all are ready for the first time.

        Whether it ended because it was asked to.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        tasks = [asyncio.create_task(self._keep(life)) for life in self._lives]
        tasks.append(asyncio.create_task(self._all_ready(on_ready)))
        for task in tasks:
            task.add_done_callback(self._see)
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()
        return not self._failed

    def stop(self) -> None:
        self._stop.set()

    def pids(self) -> dict[str, int]:
        """The living processes by the names of their programs."""
        return {
            life.program.name: life.process.pid
            for life in self._lives
            if life.process is not None and life.process.returncode is None
        }

    def _see(self, task: asyncio.Task[None]) -> None:
        """A fault of our own ends everything: nobody would be started anew."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("supervisor_failed", exc_info=error)
            self._failed = True
            self._stop.set()

    async def _keep(self, life: _Life) -> None:
        """Start it whenever it is dead."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            process = life.process = await _started(life.program, self._output)
            watching = asyncio.create_task(self._watch_ready(life))
            try:
                status = await process.wait()
            finally:
                watching.cancel()
            if not life.was_ready and status > 0:
                _log.error("program_can_not_start", program=life.program.name, status=status)
                self._failed = True
                self._stop.set()
                return
            life.deaths = 1 if loop.time() - began_s > STEADY_AFTER_S else life.deaths + 1
            delay_s = min(AGAIN_MAX_S, AGAIN_FIRST_S * 2 ** min(life.deaths - 1, 10))
            _log.error("program_died", program=life.program.name, status=status, again_in_s=delay_s)
            await asyncio.sleep(delay_s)

    async def _watch_ready(self, life: _Life) -> None:
        loop = asyncio.get_running_loop()
        say_at_s = loop.time() + SAY_NOT_READY_EVERY_S
        while not await _says_ready(life.program.port):
            if loop.time() >= say_at_s:
                _log.warning("program_not_ready", program=life.program.name)
                say_at_s += SAY_NOT_READY_EVERY_S
            await asyncio.sleep(READY_LOOK_EVERY_S)
        life.was_ready = True
        life.ready.set()
        _log.info("program_ready", program=life.program.name)

    async def _all_ready(self, on_ready: Callable[[], Awaitable[None]]) -> None:
        for life in self._lives:
            await life.ready.wait()
        await on_ready()

    async def _end(self) -> None:
        """Rank by rank: who takes requests before who answers them."""
        for rank in sorted({life.program.rank for life in self._lives}):
            members = [life for life in self._lives if life.program.rank == rank]
            processes = [life.process for life in members if life.process is not None]
            await asyncio.gather(*(_ended(one, self._end_timeout_s) for one in processes))
        _log.info("ended")


async def _started(program: Program, output: BinaryIO | None) -> asyncio.subprocess.Process:
    """In a session of its own, so that Ctrl-C reaches us alone; ends with us in any case."""
    return await asyncio.create_subprocess_exec(
        *bound_command(program.command, death_signal=signal.SIGTERM),
        env=os.environ | program.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


async def _ended(process: asyncio.subprocess.Process, timeout_s: float) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _says_ready(port: int) -> bool:
    """One question over a connection of its own; whatever is no 200 is no."""
    writer = None
    try:
        async with asyncio.timeout(READY_ASK_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: supervisor\r\nconnection: close\r\n\r\n")
            return _READY in await reader.readline()
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
