import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import aiormq
import psutil
import pytest

from kernel.local_rabbitmq import LocalRabbitMQ, RabbitMQInUse, _answers
from kernel.rabbitmq_node import RabbitMQUnavailable
from kernel.supervision import hold
from tests.kernel.embedded import REPOSITORY, is_gone, temporary_folder, wait_until
from tests.rabbitmq import started

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
MISLEADING = {
    "RABBITMQ_NODENAME": "misled@localhost",
    "RABBITMQ_CONFIG_FILE": "/misled/rabbitmq.conf",
    "RABBITMQ_NODE_PORT": "1",
    "RABBITMQ_ENABLED_PLUGINS": "misled",
    "ERL_FLAGS": "-misled",
    "ERL_EPMD_PORT": "4369",
    "HOME": "/misled",
}
STARTS_A_SERVER = """
import sys
from pathlib import Path
from kernel.local_rabbitmq import LocalRabbitMQ
server = LocalRabbitMQ(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Running:
    """A server as it was started, and what was there before."""

    home: Path
    url: str
    pid: int
    modes: Mapping[Path, tuple[int, int, int]]
    name_daemons: frozenset[int]

    def processes(self) -> list[psutil.Process]:
        vm = psutil.Process(self.pid)
        return [vm, *vm.children(recursive=True)]


def modes_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    stats = {parent: parent.stat() for parent in path.parents}
    return {folder: (s.st_mode, s.st_uid, s.st_gid) for folder, s in stats.items()}


def name_daemons() -> frozenset[int]:
    return frozenset(one.pid for one in psutil.process_iter() if one.name() == "epmd")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """In a folder that only its owner may enter, started by one who would mislead it, in a thread
    that has ended."""
    with (
        temporary_folder(0o700) as closed,
        temporary_folder(0o755) as fallback_root,
        pytest.MonkeyPatch.context() as caller,
    ):
        home = closed / "a home"
        server = LocalRabbitMQ(home, fallback_root=fallback_root)
        before = modes_above(home), name_daemons()
        for name, value in MISLEADING.items():
            caller.setenv(name, value)
        try:
            with ThreadPoolExecutor(1) as starter:
                url = starter.submit(started, server).result()
            assert server.pid is not None
            yield Running(home, url, server.pid, *before)
        finally:
            server.stop()


@dataclass(frozen=True)
class Stopped:
    home: Path
    port: int
    pid: int


@pytest.fixture(scope="module")
def stopped() -> Iterator[Stopped]:
    """A home whose server has run before; each test starts and stops its own on it."""
    with temporary_folder(0o755) as folder:
        server = LocalRabbitMQ(folder / "home")
        try:
            port = int(started(server).removesuffix("/").rpartition(":")[2])
            assert server.pid is not None
            pid = server.pid
        finally:
            server.stop()
        yield Stopped(folder / "home", port, pid)


async def connects(url: str) -> bool:
    try:
        connection = await aio_pika.connect(url, timeout=5)
    except (OSError, aiormq.AMQPError):
        return False
    await connection.close()
    return True


async def declare(url: str, queue: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})


def is_kept(home: Path, queue: str) -> bool:
    """Whether a quorum queue would be known after a crash: RabbitMQ says that it has made one up
    to a second before its name is in this file, and until then loses it, and all that is in it."""
    names = home.glob("data/mnesia/*/quorum/*/names.dets")
    return any(queue.encode() in file.read_bytes() for file in names)


async def publish(url: str, queue: str, body: bytes) -> None:
    """Returns when the server has confirmed it."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue)


async def take(url: str, queue: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = await (await channel.get_queue(queue)).get(timeout=10)
        await message.ack()
        return message.body


async def test_lets_in_who_has_the_url_and_no_guest(running: Running) -> None:
    password = (running.home / "password").read_text()
    assert await connects(running.url)
    assert not await connects(running.url.replace(password, "guess"))
    assert not await connects(running.url.replace(f"smartspec:{password}", "guest:guest"))


def test_can_be_reached_by_amqp_on_loopback_only(running: Running) -> None:
    sockets = [one for process in running.processes() for one in process.net_connections("inet")]
    listening = {one.laddr for one in sockets if one.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", int((running.home / "port").read_text()))}


def test_starts_no_daemon_that_would_outlive_it(running: Running) -> None:
    assert name_daemons() <= running.name_daemons


def test_outlives_the_thread_that_started_it(running: Running) -> None:
    assert not is_gone(running.pid)


def test_hears_no_ctrl_c_of_ours(running: Running) -> None:
    assert os.getsid(running.pid) == running.pid


def test_the_callers_environment_changes_nothing(running: Running) -> None:
    environment = psutil.Process(running.pid).environ()
    assert {n: v for n, v in environment.items() if MISLEADING.get(n) == v} == {}
    assert environment["RABBITMQ_NODENAME"].startswith("smartspec-")


def test_tells_its_password_to_no_other_user(running: Running) -> None:
    password = (running.home / "password").read_text()
    for process in running.processes():
        assert password not in " ".join([*process.cmdline(), *process.environ().values()])
    folder = (running.home / "data").resolve().parent
    secrets = [running.home / "password", running.home / "rabbitmq.log"]
    for file in [*secrets, folder / "definitions.json"]:
        assert file.stat().st_mode & 0o777 == 0o600
    assert (folder / "data").stat().st_mode & 0o777 == 0o700


def test_opens_nobodys_folder(running: Running) -> None:
    assert modes_above(running.home) == running.modes


@needs_root
def test_gives_the_server_none_of_roots_rights(running: Running) -> None:
    server = psutil.Process(running.pid)
    assert 0 not in {*server.uids(), *server.gids()}
    assert server.uids().real == (running.home / "data").stat().st_uid


async def test_refuses_a_second_start_and_leaves_the_first_alone(running: Running) -> None:
    second = LocalRabbitMQ(running.home)
    with pytest.raises(RabbitMQInUse, match=f"runs in {running.home}"):
        second.start(timeout_s=0.1)
    second.stop()
    assert await connects(running.url)


def test_holds_its_home_by_itself_should_its_starter_be_gone(running: Running) -> None:
    files = [file.path for file in psutil.Process(running.pid).open_files()]
    assert str(running.home / "lock") in files


def test_ends_when_it_is_told_to_and_frees_its_port(stopped: Stopped) -> None:
    assert is_gone(stopped.pid)
    with socket.create_server(("127.0.0.1", stopped.port)):
        pass


async def test_keeps_what_it_has_confirmed_over_a_crash(stopped: Stopped) -> None:
    server = LocalRabbitMQ(stopped.home)
    try:
        url = server.start()
        await declare(url, "orders")
        await asyncio.to_thread(wait_until, lambda: is_kept(stopped.home, "orders"))
        await publish(url, "orders", b"confirmed")
        server.kill()
        assert server.pid is None
        assert server.start() == url
        assert await take(url, "orders") == b"confirmed"
    finally:
        server.stop()


async def test_replaces_a_port_and_a_password_that_it_has_lost(stopped: Stopped) -> None:
    server = LocalRabbitMQ(stopped.home)
    port = int((stopped.home / "port").read_text())
    old = (stopped.home / "password").read_text()
    (stopped.home / "password").unlink()
    with socket.create_server(("127.0.0.1", port)):
        try:
            url = server.start()
            assert await connects(url)
            password = (stopped.home / "password").read_text()
            assert not await connects(url.replace(password, old))
        finally:
            server.stop()


def test_a_killed_parent_takes_the_server_along(stopped: Stopped) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_SERVER, str(stopped.home)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        below = psutil.Process(pid).children(recursive=True)
        assert psutil.Process(pid).name() == "beam.smp"
        parent.kill()
        wait_until(lambda: is_gone(pid) and all(is_gone(one.pid) for one in below), timeout_s=3)
    lock = hold(stopped.home, wait_s=0)
    assert lock is not None
    os.close(lock)


@contextlib.contextmanager
def machine_with(server: str) -> Iterator[tuple[Path, str]]:
    """A new home, and where to look for a RabbitMQ that is this shell script."""
    with temporary_folder(0o755) as folder:
        for name, source in (("rabbitmq-server", server), ("erl", "exit 1")):
            program = folder / name
            program.write_text(f"#!/bin/sh\n{source}\n")
            program.chmod(0o755)
        yield folder / "home", str(folder)


def test_says_what_to_do_on_a_machine_without_it(tmp_path: Path) -> None:
    server = LocalRabbitMQ(tmp_path / "home", search=str(tmp_path))
    with pytest.raises(RabbitMQUnavailable, match="install rabbitmq-server or set RABBITMQ_URL"):
        server.start()
    assert server.pid is None


def test_says_what_the_server_said() -> None:
    with machine_with("echo a broken disk; exit 1") as (home, search):
        server = LocalRabbitMQ(home, search=search)
        with pytest.raises(RabbitMQUnavailable, match="a broken disk"):
            server.start()


def test_gives_up_when_every_port_is_taken() -> None:
    tried = itertools.count(40_001)
    with machine_with("echo could_not_start_listener; exit 1") as (home, search):
        server = LocalRabbitMQ(home, search=search, choose_port=lambda: next(tried))
        with pytest.raises(RabbitMQUnavailable, match="could_not_start_listener"):
            server.start()
    assert next(tried) == 40_006


def test_ends_a_server_that_is_not_ready_in_time_whatever_it_hears() -> None:
    with machine_with(f"trap '' {int(signal.SIGTERM)}; exec sleep 600") as (home, search):
        server = LocalRabbitMQ(home, search=search)
        with pytest.raises(RabbitMQUnavailable, match="not ready in time"):
            server.start(timeout_s=0)
        assert server.pid is None
        lock = hold(home, wait_s=0)
        assert lock is not None
        os.close(lock)


def test_takes_no_other_server_for_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        greets = threading.Thread(target=greet_twice, args=[other, b"...smartspec-1@vm..."])
        greets.start()
        port = other.getsockname()[1]
        assert _answers(port, "smartspec-1@localhost")
        assert not _answers(port, "smartspec-2@localhost")
        greets.join()


def greet_twice(other: socket.socket, greeting: bytes) -> None:
    for _ in range(2):
        client, _ = other.accept()
        with client:
            client.recv(100)
            client.sendall(greeting)
