"""The render process: reads orders from stdin, one JSON a line, answers each with a line.

Its parent starts it by name (`python -m`), so it imports the renderer and nothing of the
product. It ends with its parent: by signal, and by the end of stdin where there is none.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from kernel.processes import die_with_parent
from services.simulator.adapters.label import SOURCES
from services.simulator.domain.commissions import MEDIA, Commission

MAX_ERROR_CHARS = 500
PART, SCRATCH = ".part", ".scratch"
"""What is written beside a file until it is whole."""
NICE = 5
"""Drawing yields to whoever waits for an answer on the same processors."""


def main(parent_pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent(parent_pid)
    os.nice(NICE)
    from services.simulator.adapters.renderer import make  # noqa: PLC0415 - after the ties

    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        path = Path(order["path"])
        begun_with = Path(order["first_frame"]) if order["first_frame"] else None
        try:
            commission = MEDIA[order["commission"]["medium"]](**order["commission"])
            scratch = path.with_name(path.name + SCRATCH)
            content = make(commission, scratch, begun_with)
            _write_whole(path, _signed(content, commission, order["authority"]))
            answer = ""
        except Exception as error:  # noqa: BLE001 - what fails must not end its worker
            answer = repr(error)[:MAX_ERROR_CHARS]
        sys.stdout.write(json.dumps({"error": answer}) + "\n")
        sys.stdout.flush()


def _signed(content: bytes, commission: Commission, authority: str) -> bytes:
    """With Content Credentials, if there is a folder for the authority that signs them."""
    if not authority:
        return content
    from services.simulator.adapters.authority import authority_in  # noqa: PLC0415 - seldom
    from services.simulator.adapters.credentials import signed  # noqa: PLC0415 - seldom

    source = SOURCES[commission.medium]
    return signed(content, commission.kind, source, authority_in(Path(authority)))


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + PART)
    part.write_bytes(content)
    part.replace(path)


if __name__ == "__main__":
    main(int(sys.argv[1]))
