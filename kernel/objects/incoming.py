"""The local folder for files on their way into a store; what a killed process left is swept.

Several processes may share it: each holds a shared lock on it for as long as it lives.
"""

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Incoming:
    """Making it creates the folder and sweeps it, unless another process that uses it is alive."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder.resolve(strict=True)
        presence = _announce_and_sweep(self.folder)
        self._leave = weakref.finalize(self, os.close, presence)

    def close(self) -> None:
        """No longer hold other processes back from sweeping."""
        self._leave()


def _announce_and_sweep(incoming: Path) -> int:
    """A descriptor whose shared lock says that this process uses the folder, until it dies."""
    presence = os.open(incoming, FOLDER)
    try:
        with suppress(BlockingIOError):  # another process is at work, its files are not garbage
            fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in incoming.iterdir():
                left.unlink(missing_ok=True)
        fcntl.flock(presence, fcntl.LOCK_SH)
    except BaseException:  # no descriptor leaks from a store that was never made; re-raised
        os.close(presence)
        raise
    return presence
