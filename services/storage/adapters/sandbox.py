"""Has a child process look at a film or sound, and judges how it ended; loads no decoder itself."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from services.storage.adapters.media import MediaFacts, MediaRefused, Wanted

CHECK_TIMEOUT_S: Final = 300.0
ANSWER_BYTES_MAX: Final = 65_536
_COMMAND: Final = ("-m", "services.storage.adapters.inspector")
_ROOT: Final = Path(__file__).resolve().parents[3]
_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH")
_FAULTS: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


class CheckFailed(Exception):
    """The child ended without an answer, through no fault that the file must have."""


async def examined(path: Path, thumbnail: Path, wanted: Wanted) -> MediaFacts:
    """The facts of the film or sound at `path`; its small picture is written to `thumbnail`.

    Cancelled, it kills the child. Call it in the main thread, which the child dies with.

    Raises:
        MediaRefused: as the examine of `films` and `sounds`; also too_complex.
        CheckFailed: another try may end otherwise.
    """
    order = {"path": str(path), "thumbnail": str(thumbnail), "wanted": asdict(wanted)}
    async with _child() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                child.stdin.write(json.dumps(order).encode() + b"\n")
                answer = await child.stdout.readline()
                if not answer:
                    raise _ended(await child.wait(), wanted)
        except (TimeoutError, ValueError, OSError) as error:
            raise CheckFailed(type(error).__name__) from error
    said = json.loads(answer)
    if "refused" in said:
        raise MediaRefused(*said["refused"])
    return MediaFacts(**said["facts"])


@asynccontextmanager
async def _child() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*_COMMAND, str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=ANSWER_BYTES_MAX,
        env=_environment(),
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        if child.stdin is not None:
            child.stdin.close()


def _ended(status: int, wanted: Wanted) -> MediaRefused | CheckFailed:
    """Why there is no answer."""
    if status == -signal.SIGXCPU:
        return MediaRefused("too_complex", "This file takes too long to decode.")
    if -status in _FAULTS:
        damaged = "damaged_sound" if wanted.kind == "audio" else "damaged_film"
        return MediaRefused(damaged, "This file cannot be decoded to its end.")
    return CheckFailed(f"the child ended with {status}")


def _environment() -> dict[str, str]:
    """No secret of ours, whatever the file may make of the child."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **passed_on,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OPENBLAS_NUM_THREADS": "1",  # each of its threads takes up addresses
    }
