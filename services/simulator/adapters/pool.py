"""Render processes of our own: spawned afresh, one order at a time each, killed to be stopped.

Not concurrent.futures: its workers can be ended neither in the middle of a picture nor within a
second, and they outlive a parent that was killed.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from services.simulator.adapters.worker import PART, SCRATCH
from services.simulator.domain.commissions import Commission, expected_ms

ROOT: Final = Path(__file__).resolve().parents[3]
MAX_LINE_BYTES: Final = 65_536
USUAL_MS: Final = 5_000
"""What is expected to take longer is given more time than the settings say, in proportion."""


class RenderFailed(Exception):
    """It could not be made, or its process died or took too long."""


class RenderProcess:
    """One worker, started when first needed and again after it died."""

    def __init__(self, timeout_s: float, authority: Path | None = None) -> None:
        """With a folder for an `authority`, what is made carries Content Credentials."""
        self._timeout_s = timeout_s
        self._authority = authority
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> asyncio.subprocess.Process:
        """The running process; call it in the main thread, which the process dies with."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "services.simulator.adapters.worker",
                    str(os.getpid()),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=MAX_LINE_BYTES,
                    env=_environment(),
                    start_new_session=True,
                )
            return self._process

    async def render(
        self, commission: Commission, path: Path, first_frame: Path | None = None
    ) -> None:
        """Have it made into the file `path`, whole or not at all. Raises `RenderFailed`.

        `first_frame` is a file with the picture a film begins with.
        """
        try:
            process = await self.start()
        except OSError as error:
            raise RenderFailed(repr(error)) from error
        order = json.dumps(
            {
                "commission": asdict(commission),
                "path": str(path),
                "first_frame": str(first_frame or ""),
                "authority": str(self._authority or ""),
            }
        )
        order += "\n"
        if process.stdin is None or process.stdout is None:
            raise RenderFailed("the render process has no pipes")
        try:
            async with asyncio.timeout(self._timeout_s * _times_usual(commission)):
                process.stdin.write(order.encode())
                await process.stdin.drain()
                answer = await process.stdout.readline()
        except (TimeoutError, OSError) as error:
            await self.stop()
            _sweep(path)
            raise RenderFailed(repr(error)) from error
        if not answer:
            await self.stop()
            _sweep(path)
            raise RenderFailed("the render process died")
        if fault := json.loads(answer)["error"]:
            raise RenderFailed(fault)

    async def stop(self) -> None:
        """Kill it, whatever it is making; what it leaves half written is no result."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _sweep(path: Path) -> None:
    """What a process that was killed had half written."""
    for suffix in (SCRATCH, PART):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _times_usual(commission: Commission) -> float:
    """How much longer than the settings say a long film may take."""
    return max(1.0, expected_ms(commission) / USUAL_MS)


def _environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OPENBLAS_NUM_THREADS": "1",  # its threads cost more to start than they save here
        "ORT_DISABLE_TELEMETRY": "1",  # a thread of onnxruntime's that calls its maker
    }
