"""The child that decodes one film or sound: `python -m ... PARENT_PID`, an order in, an answer out.

It trusts the file with nothing: its memory, its time and what it may write are limited before the
decoders are even loaded. It ends with its parent.
"""

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from kernel.processes import die_with_parent
from services.storage.adapters.media import MediaRefused, Wanted

MEMORY_BYTES_MAX: Final = 2 << 30
"""Addresses, not pages: a 4K film of x264's defaults takes some 340 MB of them."""
CPU_S_MAX: Final = 180
WRITTEN_BYTES_MAX: Final = 4 << 20
NICENESS: Final = 10


def main(parent_pid: int) -> None:
    die_with_parent(parent_pid)
    os.nice(NICENESS)
    _limit()
    order = json.loads(sys.stdin.readline())
    sys.stdout.write(json.dumps(_answer(order)) + "\n")


def _limit() -> None:
    if sys.platform == "linux":  # others map far more than they use
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN_BYTES_MAX, WRITTEN_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    from services.storage.adapters import films, sounds  # noqa: PLC0415 - after the limits

    wanted = Wanted(**order["wanted"])
    examine = sounds.examine if wanted.kind == "audio" else films.examine
    try:
        facts = examine(Path(order["path"]), Path(order["thumbnail"]), wanted)
    except MediaRefused as refused:
        return {"refused": [refused.code, str(refused)]}
    except MemoryError:
        return {"refused": ["too_complex", "This file takes too much memory to decode."]}
    return {"facts": asdict(facts)}


if __name__ == "__main__":
    main(int(sys.argv[1]))
