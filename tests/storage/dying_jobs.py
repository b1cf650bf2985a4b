"""What a child may do instead of its work: each function is a job."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.storage.adapters import inspector

Order = Mapping[str, Any]


def die_of(order: Order) -> Order:
    os.kill(os.getpid(), signal.Signals[order["signal"]])
    return {}


def kill_the_parent(order: Order) -> Order:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
    return {}


def leave(order: Order) -> Order:
    raise SystemExit(1)


def say_too_much(order: Order) -> Order:
    return {"said": "x" * (inspector.ANSWER_BYTES_MAX + 1)}


def be_wrong(order: Order) -> Order:
    raise KeyError("canary")


def say_nonsense(order: Order) -> Any:
    return ["no", "facts"]


def sleep(order: Order) -> Order:
    note = Path(order["note"])
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    time.sleep(60)
    return {}


def take_all_memory(order: Order) -> Order:
    bytearray(inspector.MEMORY_BYTES_MAX)
    return {}


def write_too_much(order: Order) -> Order:
    with Path(order["note"]).open("wb", buffering=0) as file:
        file.writelines(bytes(1 << 20) for _ in range(3))
    return {}


def spin(order: Order) -> Order:
    while True:
        pass


def tell(order: Order) -> Order:
    """What it knows and is allowed."""
    import resource

    opened = [one for one in Path("/proc/self/fd").iterdir() if _is_something(one)]
    return {
        "names": sorted(os.environ),
        "opened": len(opened),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "niceness": os.nice(0),
        "threads": len([*Path("/proc/self/task").iterdir()]),
        "parents_threads": len([*Path(f"/proc/{os.getppid()}/task").iterdir()]),
        "pid": os.getpid(),
        "parent": os.getppid(),
    }


def _is_something(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()) != os.devnull
    except OSError:
        return False
