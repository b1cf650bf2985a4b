"""Runs PostgreSQL from a wheel as a child; must not know who uses it, nor any table.

    home/lock            held while we run: one server per home
    home/password        of the role `smartspec`, 0600, made once
    home/postgres.log    what the server says
    home/data            the cluster; a link to `fallback_root/<hash of home>/data` where the
                         server's user cannot enter `home`

The server has its own session, so that Ctrl-C reaches the application alone, which ends it last.
Should we be killed, the kernel sends it SIGQUIT: an immediate end that takes its backends along
(SIGKILL would leave them to notice by themselves; SIGINT may wait for a checkpoint). The next
start then replays the log, as after a power cut.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kernel.postgres_cluster import (
    ENVIRONMENT,
    Place,
    PostgresUnavailable,
    find_cluster,
    prepare_cluster,
)
from kernel.processes import process_exists
from kernel.supervision import end, free_port, hold, make_home, open_log, words_since

_DEFAULTS: Final = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "idle_in_transaction_session_timeout": "10s",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_SOCKET_PATH_BYTES: Final = 103  # sun_path of macOS, the shortest
_PORT_LINE: Final = 3
_STATUS_LINE: Final = 7  # of postmaster.pid, from 0; the first is the pid
_PORTS_TRIED: Final = 5
_PORT_TAKEN: Final = "could not create any TCP/IP sockets"
_MEMORY_IN_USE: Final = "pre-existing shared memory block"
_MEMORY_WAIT_S: Final = 30.0
_OTHER_SERVER_S: Final = 5.0
_STOP_STEPS: Final = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0))


class PostgresInUse(PostgresUnavailable):
    """Another process runs the server of this home."""


class EmbeddedPostgres:
    """One server, for one process at a time.

    `options` are settings of postgresql.conf (`{"fsync": "off"}` in tests). `fallback_root` is
    used as root only, where the unprivileged user cannot reach `home` or the wheel.
    """

    def __init__(
        self,
        home: Path,
        *,
        options: Mapping[str, str] | None = None,
        fallback_root: Path = Path("/var/lib/smartspec"),
        choose_port: Callable[[], int] = free_port,
    ) -> None:
        self._home = home.resolve()
        self._options = dict(options or {})
        self._fallback_root = fallback_root.resolve()
        self._choose_port = choose_port
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._dsn = ""

    @property
    def pid(self) -> int | None:
        """The server's process id; None before the start and once it has ended, however."""
        if self._server is None or self._server.poll() is not None:
            return None
        return self._server.pid

    def running(self) -> str | None:
        """The DSN of the server that another process runs in this home; None when none does."""
        data = (self._home / "data").resolve()
        pid = _pid_in(data)
        if pid is None or not process_exists(pid) or not _is_ready(data, pid):
            return None
        port = (data / "postmaster.pid").read_text().splitlines()[_PORT_LINE].strip()
        return _dsn((self._home / "password").read_text().strip(), port)

    def start(self, *, timeout_s: float = 60) -> str:
        """Start, at first making the cluster; returns the DSN of the database `smartspec`.

        `timeout_s` bounds the wait for the server (a crash recovery is part of it). From the main
        thread only: the kernel ends the server when the thread that started it ends. Raises
        PostgresInUse, or PostgresUnavailable with the server's last words.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the server from the main thread")
        if self.pid is not None:
            return self._dsn
        self.stop()
        try:
            self._dsn = self._start(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self._dsn

    def _start(self, timeout_s: float) -> str:
        for_other_s = min(timeout_s, _OTHER_SERVER_S)
        make_home(self._home)
        self._lock = hold(self._home, for_other_s)
        if self._lock is None:
            pid = _pid_in(self._home / "data") or "unknown"
            raise PostgresInUse(
                f"another process already runs PostgreSQL (pid {pid}) in {self._home}; end it first"
            )
        place = find_cluster(self._home, self._fallback_root)
        _wait_for_other(place.data, for_other_s)
        password = prepare_cluster(self._home, place, sync=self._options.get("fsync") != "off")
        port = self._launch(place, timeout_s)
        return _dsn(password, str(port))

    def stop(self) -> None:
        """End the server: fast (clients are cut off, data written), after 3 s by force."""
        if self._server is not None:
            end(self._server, _STOP_STEPS)
            self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _launch(self, place: Place, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        memory_deadline = min(deadline, time.monotonic() + _MEMORY_WAIT_S)
        ports_left = _PORTS_TRIED
        while True:
            port = self._choose_port()
            last_words = self._try(place, port, deadline)
            if last_words is None:
                return port
            if _PORT_TAKEN in last_words and ports_left > 1:
                ports_left -= 1
            elif _MEMORY_IN_USE in last_words and time.monotonic() < memory_deadline:
                time.sleep(0.2)
            else:
                raise PostgresUnavailable(f"PostgreSQL in {place.data} said: {last_words}")

    def _try(self, place: Place, port: int, deadline: float) -> str | None:
        """None when the server is ready on `port`, else what it said before it ended."""
        settings = _DEFAULTS | self._options | _addresses(place.data, port)
        options = [f"--{name}={value}" for name, value in settings.items()]
        log_path = self._home / "postgres.log"
        with open_log(log_path) as log:
            before = log.tell()
            self._server = server = subprocess.Popen(  # noqa: S603 - no shell, our own words
                place.command(
                    "postgres", "-D", str(place.data), *options, death_signal=signal.SIGQUIT
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        while server.poll() is None:
            if _is_ready(place.data, server.pid):
                return None
            if time.monotonic() > deadline:
                raise PostgresUnavailable(f"PostgreSQL is not ready in time; see {log_path}")
            time.sleep(0.005)
        self._server = None
        return words_since(log_path, before)


def _dsn(password: str, port: str) -> str:
    return f"postgresql://smartspec:{password}@127.0.0.1:{port}/smartspec"


def _wait_for_other(data: Path, wait_s: float) -> None:
    """Wait for the server of a killed run to end; remove a pid file that names another program.

    PostgreSQL refuses to start beside any live pid in that file, whatever it belongs to. Its own
    check of the shared memory still guards the data when the file is gone.
    """
    deadline = time.monotonic() + wait_s
    while (pid := _pid_in(data)) is not None and process_exists(pid):
        if not _serves(pid, data):
            (data / "postmaster.pid").unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise PostgresInUse(f"PostgreSQL (pid {pid}) still runs in {data}; end it first")
        else:
            time.sleep(0.02)


def _pid_in(data: Path) -> int | None:
    try:
        return abs(int((data / "postmaster.pid").read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _serves(pid: int, data: Path) -> bool:
    """Whether a live process is called postgres and, where that can be seen, works in `data`."""
    if _name_of(pid) != "postgres":
        return False
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(data)  # noqa: PTH115 - not a path to us
    except OSError:
        return True


def _name_of(pid: int) -> str | None:
    """The name of a process; None when it is gone, or dead and only not reaped yet."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        name, _, rest = stat.partition("(")[2].rpartition(") ")
        return None if rest[0] in "ZX" else name
    ps = ["ps", "-o", "stat=,comm=", "-p", str(pid)]
    output = subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603 - as above
    said = output.split(maxsplit=1)
    return Path(said[1].strip()).name if len(said) > 1 and said[0][0] != "Z" else None


def _is_ready(data: Path, pid: int) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return (
        len(lines) > _STATUS_LINE
        and lines[0] == str(pid)
        and lines[_STATUS_LINE].strip() == "ready"
    )


def _addresses(data: Path, port: int) -> dict[str, str]:
    longest = f"{data}/.s.PGSQL.65535"
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(data) if len(longest) <= _SOCKET_PATH_BYTES else "",
    }
