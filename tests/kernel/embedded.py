"""What the tests of the embedded server share: servers that end, and conditions to wait for."""

import asyncio
import contextlib
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil

from kernel.embedded_postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[2]
OPTIONS = {"fsync": "off"}

STARTS_A_SERVER = """
import sys
from pathlib import Path
from kernel.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), options={"fsync": "off"})
dsn = server.start()
print(dsn, server.pid, flush=True)
sys.stdin.read()
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def running(home: Path, **arguments: Path | Callable[[], int]) -> Iterator[tuple[str, int]]:
    server = EmbeddedPostgres(home, options=OPTIONS, **arguments)  # type: ignore[arg-type] # either
    try:
        dsn = server.start()
        assert server.pid is not None
        yield dsn, server.pid
    finally:
        server.stop()


async def ask_soon(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def ask(dsn: str, question: str) -> object:
    return asyncio.run(ask_soon(dsn, question))


@contextlib.contextmanager
def started_by_another(
    home: Path, python: str = sys.executable, user: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    environment = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}
    with subprocess.Popen(
        [python, "-c", STARTS_A_SERVER, str(home)],
        cwd="/",
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=user,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_answer(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    dsn, pid = process.stdout.readline().split()
    return dsn, int(pid)


def server_user(home: Path) -> str:
    return pwd.getpwuid((home / "data").stat().st_uid).pw_name


@contextlib.contextmanager
def temporary_folder(mode: int) -> Iterator[Path]:
    """A folder with this mode; that of pytest is closed to the server's user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(mode)
        yield Path(folder).resolve()
