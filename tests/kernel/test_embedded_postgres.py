import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from kernel.embedded_postgres import EmbeddedPostgres, PostgresInUse
from kernel.postgres_cluster import PostgresUnavailable
from kernel.supervision import free_port
from tests.kernel.embedded import (
    OPTIONS,
    ask,
    ask_soon,
    is_gone,
    read_answer,
    running,
    server_user,
    started_by_another,
    temporary_folder,
    wait_until,
)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with temporary_folder(0o755) as folder:
        yield folder


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home whose cluster exists; each test starts and stops its own server on it."""
    with temporary_folder(0o755) as folder:
        with running(folder / "home"):
            pass
        yield folder / "home"


def test_keeps_its_data_over_a_restart(open_folder: Path) -> None:
    home = open_folder / "new" / "home"
    with running(home) as (dsn, _):
        ask(dsn, "create table kept as select 42 as answer")
    with running(home) as (dsn, _):
        assert ask(dsn, "select answer from kept") == 42


def test_is_durable_unless_told_otherwise(home: Path) -> None:
    server = EmbeddedPostgres(home)
    try:
        assert ask(server.start(), "show fsync") == "on"
    finally:
        server.stop()


def test_answers_on_loopback_only(home: Path) -> None:
    with running(home) as (_, pid):
        listening = psutil.Process(pid).net_connections("tcp")
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("address", ["127.0.0.1", "socket"])
def test_refuses_a_wrong_password(home: Path, address: str) -> None:
    with running(home) as (dsn, _):
        right = dsn
        if address == "socket":
            before, _, port = dsn.removesuffix("/smartspec").partition("@127.0.0.1:")
            right = f"{before}@/smartspec?host={(home / 'data').resolve()}&port={port}"
        assert ask(right, "select 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(right.replace((home / "password").read_text(), "guess"), "select 1")


def test_refuses_a_second_start_and_leaves_the_first_alone(home: Path) -> None:
    second = EmbeddedPostgres(home, options=OPTIONS)
    with running(home) as (dsn, pid):
        with pytest.raises(PostgresInUse, match=rf"pid {pid}.*{home}"):
            second.start(timeout_s=0.1)
        second.stop()
        assert ask(dsn, "select 1") == 1


def test_refuses_beside_a_server_that_no_lock_shows(home: Path) -> None:
    second = EmbeddedPostgres(home, options=OPTIONS)
    with running(home) as (_, pid):
        (home / "lock").unlink()
        with pytest.raises(PostgresInUse, match=f"pid {pid}.*still runs"):
            second.start(timeout_s=0.1)
        assert not is_gone(pid)


async def test_a_killed_parent_takes_the_server_and_busy_backends_along(home: Path) -> None:
    with started_by_another(home) as parent:
        dsn, pid = read_answer(parent)
        connection = await asyncpg.connect(dsn)
        backend = connection.get_server_pid()
        endless = asyncio.create_task(
            connection.execute("select count(*) from generate_series(1, 1e10)")
        )
        active = f"select count(*) from pg_stat_activity where pid = {backend} and state = 'active'"
        while await ask_soon(dsn, active) == 0:
            assert not endless.done()
        parent.kill()
        wait_until(lambda: is_gone(pid) and is_gone(backend), timeout_s=3)
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await endless
        connection.terminate()


def test_starts_at_once_after_a_kill_and_has_what_was_committed(home: Path) -> None:
    with started_by_another(home) as parent:
        dsn, _ = read_answer(parent)
        ask(dsn, "create table survives as select 1")
        parent.kill()
        parent.wait()
        with running(home) as (dsn, _):
            assert ask(dsn, "select count(*) from survives") == 1


@contextlib.contextmanager
def running_program(home: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another program of the server's user, whose pids PostgreSQL takes for its own."""
    with subprocess.Popen(command, user=server_user(home), cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_stale_pid_of_another_program_is_left_alone(home: Path) -> None:
    with running_program(home, "sleep", "600") as innocent:
        write_pid_file(home, innocent.pid)
        with running(home) as (dsn, _):
            assert ask(dsn, "select 1") == 1
            assert innocent.poll() is None


def test_a_stale_pid_of_another_postgres_is_left_alone(home: Path, open_folder: Path) -> None:
    program = shutil.copy(shutil.which("sleep") or "/bin/sleep", open_folder / "postgres")
    with running_program(home, program, "600") as innocent:
        write_pid_file(home, innocent.pid)
        with running(home) as (dsn, _):
            assert ask(dsn, "select 1") == 1
            assert innocent.poll() is None


def test_a_dead_server_that_nobody_reaped_counts_as_dead(home: Path, open_folder: Path) -> None:
    program = shutil.copy(shutil.which("true") or "/bin/true", open_folder / "postgres")
    with running_program(home, program) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        write_pid_file(home, zombie.pid)
        with running(home) as (dsn, _):
            assert ask(dsn, "select 1") == 1


def write_pid_file(home: Path, pid: int) -> None:
    data = home / "data"
    (data / "postmaster.pid").write_text(f"{pid}\n{data.resolve()}\n1\n5432\n\n\n\nready\n")


def test_takes_another_port_when_the_chosen_one_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], free := free_port()])
        with running(home, choose_port=lambda: next(ports)) as (dsn, _):
            assert dsn.endswith(f":{free}/smartspec")


def test_gives_up_when_every_port_is_taken(home: Path) -> None:
    tried = itertools.count(1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server = EmbeddedPostgres(home, choose_port=lambda: taken * min(next(tried), 1))
        with pytest.raises(PostgresUnavailable, match="Address already in use"):
            server.start()
    assert next(tried) == 6


def test_says_what_the_server_said(home: Path) -> None:
    server = EmbeddedPostgres(home, options={"shared_buffers": "plenty"})
    with pytest.raises(PostgresUnavailable, match="plenty"):
        server.start()
    assert server.pid is None


def test_ends_a_server_that_is_not_ready_in_time(home: Path) -> None:
    server = EmbeddedPostgres(home, options=OPTIONS)
    with pytest.raises(PostgresUnavailable, match="not ready in time"):
        server.start(timeout_s=0)
    with running(home):
        pass


def test_stops_twice_and_starts_again(home: Path) -> None:
    server = EmbeddedPostgres(home, options=OPTIONS)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert server.pid is None
    try:
        server.start()
        assert server.pid is not None
    finally:
        server.stop()


def test_a_server_that_was_killed_has_no_pid_and_can_be_started(home: Path) -> None:
    server = EmbeddedPostgres(home, options=OPTIONS)
    try:
        server.start()
        assert server.pid is not None
        psutil.Process(server.pid).kill()
        wait_until(lambda: server.pid is None)
        server.start()
        assert server.pid is not None
    finally:
        server.stop()


def test_cuts_a_log_that_has_grown_long(home: Path) -> None:
    (home / "postgres.log").write_bytes(b"x" * 6_000_000)
    with running(home):
        assert (home / "postgres.log").stat().st_size < 100_000


def test_starts_from_the_main_thread_only(home: Path) -> None:
    refused: list[RuntimeError] = []

    def start() -> None:
        try:
            EmbeddedPostgres(home).start()
        except RuntimeError as error:
            refused.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(refused[0])


def test_finds_the_server_that_another_process_runs(home: Path) -> None:
    assert EmbeddedPostgres(home).running() is None
    with running(home) as (dsn, _):
        assert EmbeddedPostgres(home).running() == dsn
    assert EmbeddedPostgres(home).running() is None
    assert EmbeddedPostgres(home / "nowhere").running() is None
