"""Has child processes look at media, and judges how they ended; loads no decoder itself.

One process stays warm beside this one, with all that decodes loaded, and forks a limited child for
each file: see `inspector`. It is started with the first job, again when it has died, and ends with
this process. Where forking is not safe, each job has a fresh process.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from services.storage.adapters.jobs import JOBS, Job
from services.storage.adapters.media import Bands, MediaFacts, MediaRefused, Wanted

CHILDREN_AT_ONCE_MAX: Final = 2
"""Decoding takes a core and up to a few hundred MB each."""
FORKS: Final = sys.platform == "linux"
_LINE_BYTES_MAX: Final = 1 << 20
"""An answer of 64 KiB, each byte of it escaped twice."""
_GOING_S: Final = 5.0
_COMMAND: Final = ("-m", "services.storage.adapters.inspector")
_ROOT: Final = Path(__file__).resolve().parents[3]
_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH")
_FAULTS: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
_LOOKS: Final = {"image": "look_at_picture", "audio": "listen_to_sound"}
_TAKES: Final = {"image": "take_in_picture", "audio": "take_in_sound", "video": "take_in_film"}


class CheckFailed(Exception):
    """The child ended without an answer, through no fault that the file must have."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a child said before it ended, and its exit status (of a signal, negative)."""

    status: int
    said: str


class Studio:
    """The one way to a child. Pictures are scored for what is unsafe when there are `safety` bands.

    Call it in the main thread, with which the process that stays warm dies.
    """

    def __init__(self, safety: Bands | None = None, jobs: Mapping[str, Job] = JOBS) -> None:
        self._safety = safety
        self._jobs = jobs
        self._room = asyncio.Semaphore(CHILDREN_AT_ONCE_MAX)
        self._starting = asyncio.Lock()
        self._inspector: _Inspector | None = None

    async def aclose(self) -> None:
        """Kill the process that stays warm, and with it what is being looked at."""
        inspector, self._inspector = self._inspector, None
        if inspector is not None:
            await inspector.aclose()

    async def examined(
        self, path: Path, thumbnail: Path, wanted: Wanted, fitted: Path
    ) -> MediaFacts:
        """The facts of the output at `path`; its small picture is written to `thumbnail`.

        A picture of another size than was wanted is made to fit: then `fitted` is written, and the
        facts are those of `fitted`.

        Raises:
            MediaRefused: as the examine of its medium; also too_complex, unsafe_output.
            CheckFailed: another try may end otherwise.
        """
        order = {"path": path, "thumbnail": thumbnail, "fitted": fitted, "wanted": asdict(wanted)}
        facts = await self._facts(_LOOKS.get(wanted.kind, "look_at_film"), order)
        if facts.safety == "block":
            raise MediaRefused("unsafe_output", "The output is not safe to be shown.")
        return facts

    async def taken_in(
        self,
        path: Path,
        clean: Path,
        thumbnail: Path,
        mime_type: str,
        sha256: str | None = None,
    ) -> MediaFacts:
        """The facts of an upload of this type; its small picture is written to `thumbnail`.

        Of a picture all that is none is left out: it is written anew to `clean`, and the facts are
        those of `clean`. Films and sounds stay as they are, and `clean` is not written; `sha256` is
        theirs, where it is known: to hash a gigabyte again takes a second.

        Raises:
            MediaRefused: as the take_in of its medium; also too_complex, unsafe_content.
            CheckFailed: another try may end otherwise.
        """
        name = _TAKES.get(mime_type.partition("/")[0])
        if name is None:
            raise MediaRefused("unsupported_type", "Files of this type are no medium.")
        order = {"path": path, "clean": clean, "thumbnail": thumbnail, "mime_type": mime_type}
        order["sha256"] = sha256
        facts = await self._facts(name, order)
        if facts.safety == "block":
            raise MediaRefused("unsafe_content", "This file is not safe to be shown.")
        return facts

    async def do(self, name: str, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of a job by its name. Cancelled, it comes back when the child is dead.

        Raises:
            MediaRefused: the job's own; too_complex, and its `damaged`, when the child was ended.
            CheckFailed: another try may end otherwise.
        """
        job = self._jobs[name]
        async with self._room, self._ready() as inspector:
            ended = await inspector.asked(job, order)
        return _answer(ended, job)

    async def _facts(self, name: str, order: Mapping[str, Any]) -> MediaFacts:
        scored = self._safety is not None
        answer = await self.do(name, {**order, "scored": scored})
        try:
            facts = MediaFacts(**answer)
        except TypeError as error:
            raise CheckFailed("an answer that is none") from error
        if self._safety is None or facts.nsfw_score is None:
            return facts
        return replace(facts, safety=self._safety.verdict(facts.nsfw_score))

    @asynccontextmanager
    async def _ready(self) -> AsyncIterator["_Inspector"]:
        if not FORKS:
            fresh = await _Inspector.started(alone=True)
            try:
                yield fresh
            finally:
                await fresh.aclose()
            return
        async with self._starting:
            if self._inspector is None or self._inspector.has_ended:
                self._inspector = await _Inspector.started()
            inspector = self._inspector
        yield inspector


class _Inspector:
    """The process that forks, as seen from here; or one that does its only job itself (`alone`)."""

    def __init__(self, process: asyncio.subprocess.Process, *, alone: bool) -> None:
        self._alone = alone
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._orders, self._answers = process, process.stdin, process.stdout
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[_Ended]] = {}
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def started(cls, *, alone: bool = False) -> "_Inspector":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*_COMMAND, str(os.getpid()), *(("alone",) if alone else ())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_BYTES_MAX,
            env=_environment(),
            start_new_session=True,
        )
        return cls(process, alone=alone)

    @property
    def has_ended(self) -> bool:
        return self._listening.done()

    async def asked(self, job: Job, order: Mapping[str, Any]) -> _Ended:
        """Raises CheckFailed when there was no answer in the job's time, or the process died."""
        number = next(self._numbers)
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        self._say({"number": number, "order": order, **asdict(job)})
        try:
            async with asyncio.timeout(job.timeout_s):
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise CheckFailed("it took too long") from error
        finally:
            if not future.done():
                await self._end(number, future)
            del self._waiting[number]

    async def _end(self, number: int, future: asyncio.Future[_Ended]) -> None:
        """Have the child killed, and wait until it is: it must not write where its files were."""
        self._say({"number": number, "cancelled": True})
        if self._alone:
            self._kill()
        try:
            async with asyncio.timeout(_GOING_S):
                await asyncio.shield(future)
        except CheckFailed:
            return
        except TimeoutError:
            self._kill()
        except asyncio.CancelledError:
            self._kill()
            raise

    async def aclose(self) -> None:
        self._kill()
        await self._process.wait()
        with suppress(asyncio.CancelledError):
            await self._listening
        self._orders.close()

    def _say(self, message: Mapping[str, Any]) -> None:
        self._orders.write(json.dumps(message, default=str).encode() + b"\n")

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _listen(self) -> None:
        try:
            while line := await self._answers.readline():
                heard = json.loads(line)
                future = self._waiting.get(heard["number"])
                if future is not None and not future.done():
                    future.set_result(_Ended(heard["status"], heard["said"]))
        except (ValueError, OSError):
            self._kill()
        finally:
            self._release(await self._process.wait())

    def _release(self, status: int) -> None:
        """Nothing more will be heard."""
        for future in self._waiting.values():
            if future.done():
                continue
            if self._alone:
                future.set_result(_Ended(status, ""))
            else:
                future.set_exception(CheckFailed("the process that forks has ended"))
                future.exception()  # whoever asked may be gone


def _answer(ended: _Ended, job: Job) -> Mapping[str, Any]:
    if not ended.said:
        raise _why(ended.status, job)
    try:
        said = json.loads(ended.said)
    except ValueError:  # it was ended while it spoke
        raise _why(ended.status, job) from None
    match said:
        case {"answer": dict(answer)}:
            return answer
        case {"refused": [str(code), str(message)]}:
            raise MediaRefused(code, message)
        case {"failed": str(fault)}:
            raise CheckFailed(fault)
        case _:
            raise CheckFailed("an answer that is none")


def _why(status: int, job: Job) -> MediaRefused | CheckFailed:
    """There is no answer."""
    if status == -signal.SIGXCPU:
        return MediaRefused("too_complex", "This file takes too long to decode.")
    if -status in _FAULTS:
        return MediaRefused(job.damaged, "This file cannot be decoded to its end.")
    return CheckFailed(f"the child ended with {status}")


def _environment() -> dict[str, str]:
    """No secret of ours, whatever the file may make of the child."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **passed_on,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OPENBLAS_NUM_THREADS": "1",  # its threads take up addresses, and none may run at a fork
        "ORT_DISABLE_TELEMETRY": "1",  # a thread of onnxruntime's that calls its maker
    }
