"""The process that stays warm and forks a child for each file: `python -m ... PARENT_PID`.

Orders come in as lines of JSON, answers go out as such, both with the number of the job. What is
imported here is shared by all children; the files are looked at in them alone. A child trusts its
file with nothing: its memory, its time and what it may write are limited before the file is
opened, and it has no way to its siblings' answers. It ends with this process, and this with its
parent. No thread may run here, or the children could wait for a lock that nobody holds.
"""

import errno
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from kernel.processes import die_with_parent
from services.storage.adapters.media import MediaRefused

MEMORY_BYTES_MAX: Final = 2 << 30
"""Addresses, not pages: what is loaded here takes some 330 MB of them, a 4K film of x264's defaults
another 340 MB."""
FILES_MAX: Final = 64
NICENESS: Final = 10
ANSWER_BYTES_MAX: Final = 65_536
_CHUNK_BYTES: Final = 65_536
_STDIN, _STDOUT = 0, 1

Work = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(slots=True)
class _Child:
    number: int
    pid: int
    said: bytearray = field(default_factory=bytearray)


class Inspector:
    """Never waits but for whoever speaks next; `alone` does its one job itself."""

    def __init__(self, *, alone: bool = False) -> None:
        self._alone = alone
        self._selector = selectors.DefaultSelector()
        self._selector.register(_STDIN, selectors.EVENT_READ)
        self._children: dict[int, _Child] = {}
        self._heard = bytearray()

    def run(self) -> None:
        """Until nobody can order any more."""
        while True:
            for key, _ in self._selector.select():
                if key.fd != _STDIN:
                    self._hear_child(key.fd)
                elif not self._hear_orders():
                    return

    def _hear_orders(self) -> bool:
        heard = os.read(_STDIN, _CHUNK_BYTES)
        self._heard += heard
        *lines, rest = self._heard.split(b"\n")
        self._heard = bytearray(rest)
        for line in lines:
            message = json.loads(line)
            if message.get("cancelled"):
                self._kill(message["number"])
            else:
                self._begin(message)
        return bool(heard)

    def _begin(self, message: Mapping[str, Any]) -> None:
        try:
            work = _loaded(message["function"], message["order"])
        except Exception as error:  # noqa: BLE001 - a fault of ours in one kind of job must not end the others
            self._tell(message["number"], 1, json.dumps({"failed": type(error).__name__}))
            return
        if self._alone:
            _limit(message)
            self._tell(message["number"], 0, _said(work, message["order"]))
            return
        gc.freeze()  # else a child's first collection copies the pages of all that is loaded
        reading, writing = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_child(parent, writing, work, message)
        os.close(writing)
        self._children[reading] = _Child(message["number"], pid)
        self._selector.register(reading, selectors.EVENT_READ)

    def _hear_child(self, reading: int) -> None:
        child = self._children[reading]
        said = os.read(reading, _CHUNK_BYTES)
        child.said += said
        if said and len(child.said) <= ANSWER_BYTES_MAX:
            return
        self._selector.unregister(reading)
        os.close(reading)
        del self._children[reading]
        # One that has ended already keeps its status; one that only fell silent is not waited for.
        os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        words = "" if said else child.said.decode("utf-8", "replace")
        self._tell(child.number, os.waitstatus_to_exitcode(status), words)

    def _kill(self, number: int) -> None:
        for child in self._children.values():
            if child.number == number:
                os.kill(child.pid, signal.SIGKILL)

    def _tell(self, number: int, status: int, said: str) -> None:
        line = json.dumps({"number": number, "status": status, "said": said}).encode() + b"\n"
        while line:
            line = line[os.write(_STDOUT, line) :]


def _loaded(function: str, order: Mapping[str, Any]) -> Work:
    """`prepare`, where the module has one, loads what this order needs, and sees no file."""
    module_name, name = function.split(":")
    module = importlib.import_module(module_name)
    if prepare := getattr(module, "prepare", None):
        prepare(order)
    work: Work = getattr(module, name)
    return work


def _be_child(parent: int, writing: int, work: Work, message: Mapping[str, Any]) -> NoReturn:
    status = 1
    with suppress(BaseException):
        die_with_parent(parent)
        _keep_only(writing)
        _limit(message)
        said = _said(work, message["order"]).encode()
        while said:
            said = said[os.write(writing, said) :]
        status = 0
    os._exit(status)


def _keep_only(descriptor: int) -> None:
    """Nothing else that is open here is a child's business, least of all others' answers."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def _limit(message: Mapping[str, Any]) -> None:
    cpu_s, written = message["cpu_s_max"], message["written_bytes_max"]
    if sys.platform == "linux":  # others map far more than they use
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _said(work: Work, order: Mapping[str, Any]) -> str:
    """In ASCII; nothing where it would be too long."""
    said = json.dumps(_answer(work, order))
    return said if len(said) <= ANSWER_BYTES_MAX else ""


def _answer(work: Work, order: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return {"answer": work(order)}
    except MediaRefused as refused:
        return {"refused": [refused.code, str(refused)]}
    except MemoryError:
        return {"refused": ["too_complex", "This file takes too much memory to decode."]}
    except OSError as error:
        if error.errno == errno.EFBIG:
            return {"refused": ["too_complex", "This file takes too much room when it is made."]}
        return {"failed": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - a fault of ours is told by its name alone
        return {"failed": type(error).__name__}


def main(parent_pid: int, *, alone: bool) -> None:
    die_with_parent(parent_pid)
    os.nice(NICENESS)
    Inspector(alone=alone).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), alone="alone" in sys.argv[2:])
