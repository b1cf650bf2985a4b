"""Whose our servers' data is, and where it lies; must not know which server it is.

No server of ours runs as root: as root it runs as an unprivileged user, who may be unable to enter
the home (a clone below /root). Nobody's folders are opened for it: the data is then put below
`fallback_root`, a folder of the service, and `home/data` is a link to it.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from kernel.processes import bound_command, reach_command

_log = structlog.get_logger(__name__)

COMMAND_S: Final = 120.0
_NEW: Final = "new-"


class NoPlace(RuntimeError):
    """A server's data can be nowhere, or be nobody's; the message says why."""


class User(NamedTuple):
    """Whom a child becomes; uid -1: stays who we are. `groups` as in "4,27"."""

    uid: int = -1
    gid: int = -1
    groups: str = ""

    def command(self, command: Sequence[str], *, death_signal: int) -> list[str]:
        """Run a command as this user; it ends with us by `death_signal`."""
        uid, gid, groups = self
        return bound_command(command, death_signal=death_signal, uid=uid, gid=gid, groups=groups)

    def own(self, *paths: Path) -> None:
        """Give what we have just made to this user."""
        if self.uid != -1:
            for path in paths:
                os.chown(path, self.uid, self.gid)


def choose_place(
    home: Path, fallback_root: Path, users: Sequence[str], programs: Sequence[Path]
) -> tuple[User, Path, bool]:
    """Find the data, or a place for new data; the same answer at each start.

    Returns its user, its folder, and whether that user can use all `programs`. The user is the
    owner of existing data, so that an account installed since changes nothing; else the first of
    `users` that this machine has. Raises `NoPlace`.
    """
    data = Path(os.path.realpath(home / "data"))
    is_new = not data.exists()
    if os.geteuid() != 0:
        if not is_new and data.stat().st_uid != os.geteuid():
            raise NoPlace(f"{data} belongs to another user; start as that one or root")
        return User(), home / "data" if is_new else data, True
    user = _first_user(users) if is_new else _owner(data)
    enters, *runs = _reach(user, [home if is_new else data, *programs])
    if is_new:
        data = home / "data" if enters else service_folder(home, fallback_root) / "data"
    elif not enters:
        raise NoPlace(f"the user with id {user.uid} cannot enter its {data} any more")
    if data.parent != home:
        _log.info("data_outside_home", home=str(home), data=str(data))
    return user, data, all(runs)


def _first_user(names: Sequence[str]) -> User:
    for name in names:
        try:
            return _user(pwd.getpwnam(name))
        except KeyError:
            continue
    raise NoPlace(f"the server does not run as root; add a user: {', '.join(names)}")


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
        command, capture_output=True, check=True, cwd="/", timeout=COMMAND_S
    )
    return [mark == ord("1") for mark in said.stdout.strip()]


def service_folder(home: Path, fallback_root: Path) -> Path:
    """The folder of this home below `fallback_root`."""
    folder = fallback_root / hashlib.sha256(str(home).encode()).hexdigest()[:12]
    for path in (fallback_root, folder):
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o711)  # entered by anyone, listed by root; whatever our umask
    return folder


def work_folder(folder: Path) -> Path:
    """An empty folder, at first removing those of starts that were killed (the home is locked)."""
    for leftover in folder.glob(f"{_NEW}*"):
        shutil.rmtree(leftover, ignore_errors=True)  # a program that is just ending may write yet
    return Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))


def put(home: Path, new: Path, data: Path) -> None:
    """Move new data into place, keeping one old one that a deleted home has left there."""
    if data.exists():
        previous = data.with_name("data.previous")
        shutil.rmtree(previous, ignore_errors=True)
        data.rename(previous)
        _log.warning("data_set_aside", data=str(data), previous=str(previous))
    link = home / "data"
    if link.is_symlink():
        link.unlink()
    if data != link:
        link.symlink_to(data)
    new.rename(data)


def keep(file: Path, text: str, user: User | None = None) -> None:
    """Write a file that only we, or `user`, may read; whole or not at all, whatever happens."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    if user is not None:
        user.own(new)
    new.replace(file)
