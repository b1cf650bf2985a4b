"""Ends processes with their parents, and changes their user; must not know what they run.

It also is the small program that a child runs first (`bound_command`): it changes the user, asks
for the parent-death signal, in this order, because the change of user clears it, and becomes the
command. A program rather than `preexec_fn`, which runs Python between fork and exec and so
may deadlock beside any thread. Imports are few because each start of a child pays for them (20 ms).
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.1


def bound_command(
    command: Sequence[str], *, death_signal: int, uid: int = -1, gid: int = -1, groups: str = ""
) -> list[str]:
    """The command line of a child that gets `death_signal` when this process ends.

    Start it from the main thread: Linux sends the signal when the *thread* that started it ends.
    `uid` -1 keeps the user; `groups` are the supplementary ones, "4,27".
    """
    parent = str(os.getpid())
    return [*_this_program("bind", uid, gid, groups), parent, str(int(death_signal)), *command]


def reach_command(paths: Sequence[str], *, uid: int, gid: int, groups: str = "") -> list[str]:
    """The command line of a program that prints, for each path, 1 when that user can use it, or 0.

    To use is to read a file, to enter a folder. The system decides: access lists and mounts count.
    """
    return [*_this_program("reach", uid, gid, groups), *paths]


def _this_program(verb: str, uid: int, gid: int, groups: str) -> list[str]:
    # -I: this folder's module names must not hide those of the standard library. -S: faster.
    return [sys.executable, "-I", "-S", __file__, verb, str(uid), str(gid), groups]


def die_with_parent(expected_parent_pid: int, death_signal: int = signal.SIGKILL) -> None:
    """Have this process, also after an exec, get `death_signal` when its parent ends.

    Call it in the child, after any change of user. A parent that ended already counts.
    """
    if sys.platform == "linux":
        _ask_kernel_for(death_signal)
    else:
        _watch_from_a_child(expected_parent_pid, death_signal)
    if os.getppid() != expected_parent_pid:
        os.kill(os.getpid(), death_signal)


def _ask_kernel_for(death_signal: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(death_signal), none, none, none) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"no parent-death signal: {os.strerror(error)}")


def _watch_from_a_child(parent_pid: int, death_signal: int) -> None:
    """The same where the kernel has no such signal: a child of ours looks every 0.1 s.

    A parent that is dead but not reaped counts as living here, until it is reaped.
    """
    watched = os.getpid()
    if os.fork() != 0:
        return
    while os.getppid() == watched and process_exists(parent_pid):
        time.sleep(_LOOK_EVERY_S)
    if os.getppid() == watched:
        os.kill(watched, death_signal)
    os._exit(0)


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def watch_parent(
    on_death: Callable[[], None], *, parent_pid: int | None = None
) -> Callable[[], None]:
    """Call `on_death` once, in a thread of its own, within 0.1 s of the parent's end.

    `parent_pid` is the parent as the starter knows it, so that one that ended before this call is
    seen too; by default the present one. Only for a process whose starter asked for it: one put
    into the background by hand may outlive its shell. Returns what ends the watch.
    """
    expected = os.getppid() if parent_pid is None else parent_pid
    ended = threading.Event()

    def watch() -> None:
        while os.getppid() == expected:
            if ended.wait(_LOOK_EVERY_S):
                return
        on_death()

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
    return ended.set


def _become(uid: int, gid: int, groups: str) -> None:
    if uid == -1:
        return
    os.setgroups([int(group) for group in groups.split(",") if group])
    os.setgid(gid)
    os.setuid(uid)


def _run(verb: str, uid: str, gid: str, groups: str, *rest: str) -> None:
    _become(int(uid), int(gid), groups)
    if verb == "reach":
        modes = [os.X_OK if os.path.isdir(path) else os.R_OK for path in rest]  # noqa: PTH112 - pathlib doubles the start
        print("".join("01"[os.access(*pair)] for pair in zip(rest, modes, strict=True)))  # noqa: T201 - the answer
        return
    parent_pid, death_signal, *command = rest
    die_with_parent(int(parent_pid), int(death_signal))
    os.execv(command[0], command)  # noqa: S606 - becoming the command is the purpose


if __name__ == "__main__":
    _run(*sys.argv[1:])
