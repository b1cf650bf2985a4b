"""Runs the machine's RabbitMQ as a child of our own; must not know who uses it, nor any queue.

    home/lock            held while we or the server run: one server per home
    home/password        of the user `smartspec`, 0600, made once
    home/port            where it listens, the same at each start unless another has taken it
    home/rabbitmq.log    what the server says at its start; later words are in data/log
    home/data            what it stores (`kernel.rabbitmq_node`)

The child is the Erlang VM itself, in a session of its own. Should we be killed, the kernel kills
it; the next start then recovers, as after a power cut.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

from kernel.clock import random_token
from kernel.rabbitmq_node import Node, RabbitMQUnavailable, find_node, prepare_node
from kernel.supervision import end, free_port, hold, make_home, open_log, words_since
from kernel.unprivileged import keep

_PORTS_TRIED: Final = 5
_PORT_TAKEN: Final = "could_not_start_listener"
_OTHER_SERVER_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.02
_ANSWER_S: Final = 1.0
_ANSWER_BYTES: Final = 4096
_AMQP: Final = b"AMQP\x00\x00\x09\x01"
_KILL: Final = (signal.SIGKILL, 5.0)
_STOP: Final = (signal.SIGTERM, 10.0)


class RabbitMQInUse(RabbitMQUnavailable):
    """Another process runs the server of this home, or its server has not ended yet."""


class LocalRabbitMQ:
    """One server, for one process at a time; used from any thread, by one at a time.

    `fallback_root` is used as root only, where the unprivileged user cannot reach `home`. `search`
    is where programs are looked for, as in PATH; by default where packages put them, and PATH.
    """

    def __init__(
        self,
        home: Path,
        *,
        fallback_root: Path = Path("/var/lib/smartspec"),
        choose_port: Callable[[], int] = free_port,
        search: str | None = None,
    ) -> None:
        self._home = home.resolve()
        self._fallback_root = fallback_root.resolve()
        self._choose_port = choose_port
        self._search = search
        self._lock: int | None = None
        self._starter: ThreadPoolExecutor | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._url = ""

    @property
    def pid(self) -> int | None:
        """The process id of the VM; None before the start and once it has ended, however."""
        if self._server is None or self._server.poll() is not None:
            return None
        return self._server.pid

    def start(self, *, timeout_s: float = 60) -> str:
        """Start it, which takes some 4 s; returns its amqp:// URL.

        `timeout_s` bounds the wait for the server (a recovery is part of it). Raises RabbitMQInUse,
        or RabbitMQUnavailable with what to do or the server's last words.
        """
        if self.pid is not None:
            return self._url
        self.stop()
        try:
            self._url = self._start(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self._url

    def _start(self, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        make_home(self._home)
        self._lock = hold(self._home, min(timeout_s, _OTHER_SERVER_S))
        if self._lock is None:
            raise RabbitMQInUse(f"a RabbitMQ already runs in {self._home}; end it first")
        node = find_node(self._home, self._fallback_root, self._search)
        password = self._password()
        # The kernel ends the server when the thread that started it ends: this one lives as long.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="rabbitmq")
        port = self._launch(node, password, deadline)
        return f"amqp://smartspec:{password}@127.0.0.1:{port}/"

    def stop(self) -> None:
        """End the server in order (1 s), after 10 s by force; at once where it is not ready yet,
        when it may not hear of SIGTERM."""
        if self._server is not None:
            end(self._server, [_STOP, _KILL] if self._is_ready else [_KILL])
            self._server = None
        self._is_ready = False
        if self._starter is not None:
            self._starter.shutdown()
            self._starter = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def kill(self) -> None:
        """Have it crash, for tests: SIGKILL to the VM. It can be started again."""
        if self._server is not None:
            end(self._server, [_KILL])

    def _password(self) -> str:
        file = self._home / "password"
        if not file.exists():
            keep(file, random_token(24).hex())
        return file.read_text()

    def _port(self) -> int:
        """The port that was kept, else another, which is kept."""
        kept = self._home / "port"
        with contextlib.suppress(OSError, ValueError, OverflowError):
            port = int(kept.read_text())
            with socket.create_server(("127.0.0.1", port)):
                return port
        port = self._choose_port()
        kept.write_text(str(port))
        return port

    def _launch(self, node: Node, password: str, deadline: float) -> int:
        ports_left = _PORTS_TRIED
        while True:
            port = self._port()
            prepare_node(node, port, password)
            last_words = self._try(node, port, deadline)
            if last_words is None:
                return port
            ports_left -= 1
            if _PORT_TAKEN not in last_words or ports_left == 0:
                raise RabbitMQUnavailable(f"RabbitMQ in {node.data} said: {last_words}")
            (self._home / "port").unlink()  # taken while the server was starting

    def _try(self, node: Node, port: int, deadline: float) -> str | None:
        """None when the server is ready on `port`, else what it said before it ended."""
        log_path = self._home / "rabbitmq.log"
        with open_log(log_path) as log:
            before = log.tell()
            self._server = server = self._child(node, log)
        while server.poll() is None:
            if _answers(port, node.name):
                self._is_ready = True
                return None
            if time.monotonic() > deadline:
                raise RabbitMQUnavailable(f"RabbitMQ is not ready in time; see {log_path}")
            time.sleep(_LOOK_EVERY_S)
        self._server = None
        return words_since(log_path, before)

    def _child(self, node: Node, log: BinaryIO) -> subprocess.Popen[bytes]:
        assert self._starter is not None
        assert self._lock is not None
        started = self._starter.submit(
            subprocess.Popen,
            node.command(death_signal=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=node.environment(),
            start_new_session=True,
            pass_fds=[self._lock],  # held until the VM ends, should we end before it
        )
        return started.result()


def _answers(port: int, node_name: str) -> bool:
    """Whether our node greets us there: it names itself, and another's server is another's."""
    name = f"{node_name.partition('@')[0]}@".encode()
    said = b""
    try:
        with socket.create_connection(("127.0.0.1", port), _ANSWER_S) as client:
            client.sendall(_AMQP)
            while name not in said and len(said) < _ANSWER_BYTES:
                more = client.recv(_ANSWER_BYTES)
                if not more:
                    break
                said += more
    except OSError:
        return False
    return name in said
