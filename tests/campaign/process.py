"""The product as its user starts it, `make up`, to be killed part by part; it knows no tasks.

Everything in here may block: call it from a thread.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import psutil

from tests.rates import PLENTY

REPOSITORY: Final = Path(__file__).parents[2]
PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: while the product is down, nobody may
take its port by chance."""
READY: Final = "SmartSpec is ready at "
READY_TIMEOUT_S: Final = 60.0
GONE_TIMEOUT_S: Final = 5.0
LOOK_EVERY_S: Final = 0.02
WORDS_SHOWN: Final = 3_000
_NOT_INHERITED: Final = frozenset(
    {
        "DATABASE_URL",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "PUBLIC_BASE_URL",
        "PYTHONDONTWRITEBYTECODE",
        "SUPABASE_DB_URL",
    }
)


class Victim(StrEnum):
    """What is killed: the starter, the product, or the server under it."""

    MAKE = "make"
    PYTHON = "python"
    POSTGRES = "postgres"


class Broken(AssertionError):
    """The product did not start, did not end, or left something behind."""


def quiet_port(start: int) -> int:
    """A free port that stays free; the search begins at a place of `start`."""
    for offset in range(len(PORTS)):
        port = PORTS[(start + offset) % len(PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Broken("no port is free")


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A folder that the server's unprivileged user can enter when we are root; if it can't all
    the same, the server's data lies elsewhere, and goes as well."""
    folder = Path(tempfile.mkdtemp(prefix="smartspec-campaign-")).resolve()
    folder.chmod(0o711)
    home = folder / "home"
    try:
        yield home
    finally:
        data = (home / "postgres" / "data").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        if data.exists():
            shutil.rmtree(data.parent, ignore_errors=True)


class Product:
    """One home, one port; started again and again. Use it as a context: nothing outlives that."""

    def __init__(self, home: Path, port: int, settings: Mapping[str, str]) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self._settings = {
            "RATE_LIMITS": PLENTY,
            **settings,
            "SMARTSPEC_HOME": str(home),
            "PORT": str(port),
        }
        self._log = home.with_suffix(".log")
        self._said_before = 0
        self._make: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._make is not None:
            self._make.kill()
            self._make.wait()
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while (left := self.alive()) and time.monotonic() < deadline:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(LOOK_EVERY_S)

    def start(self) -> None:
        """Begin to start it; see `wait_ready`."""
        inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            # Compiling everything anew doubles the time of a start, and there are many.
            inherited["PYTHONPYCACHEPREFIX"] = str(self.home.with_name("bytecode"))
        with self._log.open("ab") as log:
            self._said_before = log.tell()
            self._make = subprocess.Popen(
                ["make", "--silent", "up"],
                cwd=REPOSITORY,
                env=inherited | self._settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Raises `Broken` with its last words when it ends instead, or is not ready in time."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while READY not in self._said():
            if self._started.poll() is not None:
                raise Broken(f"ended with {self._started.returncode} at start: {self.words}")
            if time.monotonic() > deadline:
                raise Broken(f"not ready after {READY_TIMEOUT_S} s: {self.words}")
            time.sleep(LOOK_EVERY_S)

    def kill(self, victim: Victim) -> Victim:
        """SIGKILL for the victim, or for the nearest above it that has begun yet; whom it met."""
        found: dict[Victim, psutil.Process] = {}
        with suppress(psutil.NoSuchProcess):
            found[Victim.MAKE] = psutil.Process(self._started.pid)
            for process in found[Victim.MAKE].children(recursive=True):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    command = process.cmdline()
                    if command[1:3] == ["-m", "services"]:
                        found.setdefault(Victim.PYTHON, process)
                    elif process.name() == "postgres" and "-D" in command:
                        found.setdefault(Victim.POSTGRES, process)
        above = {
            Victim.POSTGRES: (Victim.POSTGRES, Victim.PYTHON, Victim.MAKE),
            Victim.PYTHON: (Victim.PYTHON, Victim.MAKE),
            Victim.MAKE: (Victim.MAKE,),
        }
        met = next((one for one in above[victim] if one in found), None)
        if met is None:
            raise Broken(f"nothing runs that could be killed: {self.words}")
        with suppress(psutil.NoSuchProcess):
            found[met].kill()
        return met

    def interrupt(self) -> None:
        """What Ctrl-C is to the product itself: SIGINT, to it alone."""
        for process in psutil.Process(self._started.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # what looks at a file ends with it
                if process.cmdline()[1:3] == ["-m", "services"]:
                    process.send_signal(signal.SIGINT)
                    return
        raise Broken(f"there is nothing to interrupt: {self.words}")

    def wait_gone(self, timeout_s: float = GONE_TIMEOUT_S) -> tuple[int, float]:
        """The status of make, and the seconds until no process of this home was left.

        Raises `Broken` with their names when there are some after `timeout_s`.
        """
        began = time.monotonic()
        while True:
            status, left = self._started.poll(), self.alive()
            elapsed_s = time.monotonic() - began
            if status is not None and not left:
                return status, elapsed_s
            if elapsed_s > timeout_s:
                raise Broken(f"still alive after {timeout_s} s: {left}; {self.words}")
            time.sleep(LOOK_EVERY_S)

    def alive(self) -> list[psutil.Process]:
        """Every process that was started for this home, or works in its data."""
        data = os.path.realpath(self.home / "postgres" / "data")
        return [one for one in psutil.process_iter() if _belongs(one, str(self.home), data)]

    def _said(self) -> str:
        """All that it has said since this start."""
        with self._log.open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace")

    @property
    def words(self) -> str:
        """The end of what it has logged."""
        return self._said()[-WORDS_SHOWN:]

    @property
    def dsn(self) -> str:
        """Of the database of the running product, as its own files tell it."""
        postgres = self.home / "postgres"
        port = Path(os.path.realpath(postgres / "data"), "postmaster.pid").read_text().split()[3]
        password = (postgres / "password").read_text().strip()
        return f"postgresql://smartspec:{password}@127.0.0.1:{port}/smartspec"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._make is None:
            raise Broken("start it first")
        return self._make


def _belongs(process: psutil.Process, home: str, data: str) -> bool:
    """Not a zombie; with our home in its environment, or working in our data.

    Another user's process hides both from us when we are not root, but then none of ours is.
    """
    with suppress(psutil.Error):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.cwd() == data:
            return True
        return process.environ().get("SMARTSPEC_HOME") == home
    return False
