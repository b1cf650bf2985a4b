"""A TCP proxy that spoils connections on demand; it knows no protocol above TCP.

The work is done by a child (`tests.campaign.proxy_process`), so that a busy campaign does not
delay what it measures. The child ends when we do, however we end.
"""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Self

REPOSITORY: Final = Path(__file__).parents[2]
END_TIMEOUT_S: Final = 5.0


class ProxyEnded(RuntimeError):
    """The child is not there any more."""


@dataclass(frozen=True, slots=True)
class Counters:
    """`connections` since the start, `open_now` of them; bytes delivered to either side, and those
    that the proxy has read and not delivered (it reads no more when there are many)."""

    connections: int
    open_now: int
    to_target: int
    to_client: int
    held: int


class FaultProxy:
    """Passes each connection to its loopback `port` on to the target. Use it as a context.

    A fault stays until `heal`; `latency` and `slow` go together. Each method returns when the
    fault is in force, and may be called from any thread.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._lock = threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.proxy_process", target_host, str(target_port)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.port = int(self._read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and with it every connection."""
        with self._child as child:
            assert child.stdin is not None
            child.stdin.close()
            try:
                child.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()

    def latency(self, seconds: float, jitter: float, rng: Random) -> None:
        """Deliver everything, in either direction, later by `seconds` and up to `jitter` more.

        Order is kept. What is under way when it ends keeps its delay.
        """
        self._say("latency", seconds, jitter, rng.getrandbits(64))

    def slow(self, bytes_per_s: float) -> None:
        """Deliver no faster than that in each direction of each connection."""
        self._say("slow", bytes_per_s)

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._say("cut")

    def half_open(self) -> None:
        """Keep connections, and accept new ones, but deliver nothing; nor that one side has closed.

        What was sent meanwhile is delivered after `heal`, as TCP does after a partition.
        """
        self._say("half_open")

    def reset(self) -> None:
        """Reset (RST) every connection, on both sides; new ones are fine."""
        self._say("reset")

    def heal(self) -> None:
        self._say("heal")

    @property
    def counters(self) -> Counters:
        return self._say("count")

    def _say(self, verb: str, *arguments: float) -> Counters:
        with self._lock:
            assert self._child.stdin is not None
            try:
                self._child.stdin.write(f"{json.dumps([verb, *arguments])}\n")
                self._child.stdin.flush()
            except (OSError, ValueError):  # ValueError: we have closed it
                raise ProxyEnded(f"nothing to {verb}") from None
            return Counters(**json.loads(self._read()))

    def _read(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise ProxyEnded(f"with status {self._child.wait()}")
        return line
