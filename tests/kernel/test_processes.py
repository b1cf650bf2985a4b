import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kernel.processes import bound_command, reach_command, watch_parent

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534
SLEEP = shutil.which("sleep") or "/bin/sleep"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

STARTS_A_BOUND_CHILD = """
import subprocess, sys
from kernel.processes import bound_command
uid, signal_number, sleep = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
command = bound_command([sleep, "600"], death_signal=signal_number, uid=uid, gid=uid)
child = subprocess.Popen(command, start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
STARTS_A_WATCHED_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
print(child.pid, flush=True)
child.wait()
"""
IS_WATCHED = """
import os, sys
from kernel.processes import _watch_from_a_child
_watch_from_a_child(os.getppid(), 9)
os.execv(sys.argv[1], [sys.argv[1], "600"])
"""
STARTS_AN_ORDERLY_CHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait()
"""
ENDS_IN_ORDER = """
import threading
from kernel.processes import watch_parent
ended = threading.Event()
watch_parent(ended.set)
print("watching", flush=True)
print("orderly" if ended.wait(30) else "late", flush=True)
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_named(pid: int, name: str) -> bool:
    try:
        return psutil.Process(pid).name() == name
    except psutil.NoSuchProcess:
        return False


def start_python(source: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o700)
        (Path(folder) / "file").touch(mode=0o644)
        yield Path(folder)


@pytest.mark.parametrize("uid", [-1, pytest.param(NOBODY, marks=needs_root)])
def test_a_bound_child_ends_when_its_parent_is_killed(uid: int) -> None:
    with start_python(STARTS_A_BOUND_CHILD, str(uid), "9", SLEEP) as parent:
        child = int(read_line(parent))
        wait_until(lambda: is_named(child, "sleep"))
        parent.kill()
        wait_until(lambda: is_gone(child))


def test_a_watcher_stands_in_where_the_kernel_sends_no_signal() -> None:
    with start_python(STARTS_A_WATCHED_CHILD, IS_WATCHED, SLEEP) as parent:
        child = int(read_line(parent))
        wait_until(lambda: is_named(child, "sleep"))
        (watcher,) = psutil.Process(child).children()
        parent.kill()
        parent.wait()
        wait_until(lambda: is_gone(child) and is_gone(watcher.pid))


def test_the_watcher_ends_with_the_child_it_watches() -> None:
    with start_python(STARTS_A_WATCHED_CHILD, IS_WATCHED, SLEEP) as parent:
        child = int(read_line(parent))
        wait_until(lambda: is_named(child, "sleep"))
        (watcher,) = psutil.Process(child).children()
        os.kill(child, signal.SIGTERM)
        wait_until(lambda: is_gone(watcher.pid))


def test_a_parent_that_ended_before_the_child_asked_counts() -> None:
    source = "from kernel.processes import die_with_parent; die_with_parent(2**22 + 1, 15)"
    with start_python(source) as child:
        assert child.wait(10) == -signal.SIGTERM


def test_a_killed_parent_lets_its_watching_child_end_in_order() -> None:
    with start_python(STARTS_AN_ORDERLY_CHILD, ENDS_IN_ORDER) as parent:
        assert read_line(parent) == "watching"
        parent.kill()
        assert read_line(parent) == "orderly"


def test_sees_a_parent_that_ended_before_the_watch() -> None:
    seen = threading.Event()
    watch_parent(seen.set, parent_pid=2**22 + 1)
    assert seen.wait(5)


def test_an_ended_watch_calls_nothing() -> None:
    called: list[bool] = []
    before = set(threading.enumerate())
    end = watch_parent(lambda: called.append(True))
    (watch,) = set(threading.enumerate()) - before
    end()
    watch.join(5)
    assert not watch.is_alive()
    assert called == []


@needs_root
def test_a_bound_child_has_the_user_and_only_the_groups_it_was_given() -> None:
    command = bound_command(
        ["/bin/sh", "-c", "id -ru; id -rg; id -G"], death_signal=9, uid=NOBODY, gid=7, groups="7,8"
    )
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    assert said.split("\n") == [str(NOBODY), "7", "7 8", ""]


@needs_root
def test_tells_what_another_user_can_reach(closed_folder: Path) -> None:
    paths = ["/", str(closed_folder), str(closed_folder / "file"), __file__ + "x"]
    command = reach_command(paths, uid=NOBODY, gid=NOBODY)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "1000"
