"""What the supervisors of our own servers share; must not know which server it is.

A home is locked while its server runs, and holds a log of what the server says.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from kernel.clock import random_token

PORTS: Final = range(20_000, 32_000)
PORTS_TRIED_MAX: Final = 100
_LOG_BYTES: Final = 5 * 1024 * 1024
_LOG_SHOWN_BYTES: Final = 2000


def free_port() -> int:
    """A loopback port that is free now: below those that systems give to outgoing connections, so
    that nobody takes it by chance. Raises OSError when none is found."""
    for _ in range(PORTS_TRIED_MAX):
        port = PORTS[int.from_bytes(random_token(2)) % len(PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def make_home(home: Path) -> None:
    if not home.exists():
        home.mkdir(parents=True)
        home.chmod(0o711 if os.geteuid() == 0 else 0o700)  # the server's user passes through


def hold(home: Path, wait_s: float) -> int | None:
    """Lock the home for as long as the descriptor, or a copy that a child has, is open.

    A killed holder lets go of it. None when another still holds it after `wait_s`.
    """
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                return None
            time.sleep(0.05)
        else:
            return lock


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to, or, where it has grown long, to begin anew."""
    too_long = path.exists() and path.stat().st_size > _LOG_BYTES
    path.touch(mode=0o600)  # what was refused is in it
    return path.open("wb" if too_long else "ab")


def words_since(path: Path, position: int) -> str:
    """The end of what was logged since; `position` is where the log ended then."""
    with path.open("rb") as log:
        log.seek(max(position, path.stat().st_size - _LOG_SHOWN_BYTES))
        return log.read().decode(errors="replace").strip()


def end(server: subprocess.Popen[bytes], steps: Iterable[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn until the server has ended, waiting so many seconds after each."""
    for stop_signal, wait_s in steps:
        if server.poll() is None:
            server.send_signal(stop_signal)
        try:
            server.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        return
