"""The services as containers run them: each `python -m services.<name>` by itself, in any order.

Nobody keeps them running: what is killed is gone until it is started again.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import httpx

from kernel.clock import random_token
from kernel.runtime import QUIET_PORTS, quiet_port
from tests.system.product import END_TIMEOUT_S, ROOT, Product, wait_until

INNER: Final = ("keys", "credits", "generation", "storage")
NAMES: Final = ("gateway", *INNER, "simulator")
READY_TIMEOUT_S: Final = 60.0


@dataclass
class Containers:
    """On `settings` (database, broker), all on one folder; use it as a context: nothing outlives
    that. `more` are further replicas, like `gateway-2`."""

    folder: Path
    settings: Mapping[str, str]
    more: tuple[str, ...] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        start = int.from_bytes(random_token(2))
        for name in (*NAMES, *self.more):
            self.ports[name] = quiet_port(start)
            start = self.ports[name] - QUIET_PORTS.start + 1
        self._said = self._stack.enter_context((self.folder / "said").open("ab"))
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        self._stack.close()

    @property
    def url(self) -> str:
        return self.url_of("gateway")

    @property
    def product(self) -> Product:
        """As its users see it."""
        return Product(self.folder / "home", self.settings, url=self.url)

    def words(self) -> str:
        return (self.folder / "said").read_text()

    def start(self, name: str) -> None:
        """Without waiting."""
        environment = self.product.environment() | {
            "PORT": str(self.ports[name]),
            "SIMULATOR_PORT": str(self.ports[name]),
            "SIMULATOR_HOME": str(self.folder / "home" / "simulator"),
            "SIMULATOR_URL": self.url_of("simulator"),
            "PUBLIC_BASE_URL": self.url,
            **{f"{inner.upper()}_URL": self.url_of(inner) for inner in INNER},
        }
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", f"services.{name.partition('-')[0]}"],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{environment['PYTHONPATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(END_TIMEOUT_S)

    def end(self, name: str) -> int:
        """Ask it to end; its exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(END_TIMEOUT_S)

    def is_ready(self, name: str) -> bool:
        try:
            return httpx.get(f"{self.url_of(name)}/readyz", timeout=3, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def wait_ready(self, *names: str) -> None:
        wait_until(lambda: all(self.is_ready(name) for name in names), READY_TIMEOUT_S)

    def url_of(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"
