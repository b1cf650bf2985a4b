import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from kernel.runtime import quiet_port
from kernel.supervisor import Program, Supervisor
from tests.kernel.totals import eventually

LIMIT_S = 30
SERVER = """
import http.server, os, signal, sys

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass

def end(*_):
    with open(os.environ["LOG"], "a") as log:
        log.write(os.environ["NAME"] + " ended\\n")
    os._exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else end)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""


class Programs:
    """Servers that write down when they are told to end."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self._next_port = os.getpid() * 7

    def server(self, name: str, *arguments: str, rank: int = 0) -> Program:
        port = quiet_port(self._next_port)
        self._next_port += 11
        return Program(
            name=name,
            command=[sys.executable, "-S", "-c", SERVER, *arguments],
            environment={"PORT": str(port), "NAME": name, "LOG": str(self.log)},
            port=port,
            rank=rank,
        )

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


async def ran(supervisor: Supervisor, on_ready: Callable[[], Awaitable[None]]) -> bool:
    async with asyncio.timeout(LIMIT_S):
        return await supervisor.run(on_ready)


async def test_is_ready_when_all_are_and_ends_all_when_it_is_asked(programs: Programs) -> None:
    supervisor = Supervisor([programs.server("one"), programs.server("two")])
    pids: list[int] = []

    async def on_ready() -> None:
        pids.extend(supervisor.pids().values())
        supervisor.stop()

    assert await ran(supervisor, on_ready)
    assert len(pids) == 2
    assert sorted(programs.lines()) == ["one ended", "two ended"]
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(programs: Programs, number: signal.Signals) -> None:
    async def on_ready() -> None:
        os.kill(os.getpid(), number)

    assert await ran(Supervisor([programs.server("one")]), on_ready)
    assert programs.lines() == ["one ended"]


async def test_starts_anew_what_was_killed_and_leaves_the_others_alone(programs: Programs) -> None:
    supervisor = Supervisor([programs.server("one"), programs.server("two")])

    async def on_ready() -> None:
        before = supervisor.pids()
        os.kill(before["one"], signal.SIGKILL)
        await eventually(lambda: supervisor.pids().get("one", before["one"]) != before["one"])
        assert supervisor.pids()["two"] == before["two"]
        supervisor.stop()

    assert await ran(supervisor, on_ready)


async def test_what_is_killed_before_it_was_ready_is_started_anew(programs: Programs) -> None:
    supervisor = Supervisor([programs.server("one")])
    ready: list[bool] = []

    async def on_ready() -> None:
        ready.append(True)
        supervisor.stop()

    running = asyncio.ensure_future(ran(supervisor, on_ready))
    await eventually(lambda: "one" in supervisor.pids())
    os.kill(supervisor.pids()["one"], signal.SIGKILL)
    assert await running
    assert ready == [True]


async def test_what_ends_by_itself_before_it_was_ready_ends_everything(programs: Programs) -> None:
    wrong = Program("wrong", [sys.executable, "-S", "-c", "raise SystemExit(1)"], {}, port=1)
    supervisor = Supervisor([programs.server("one"), wrong])

    async def on_ready() -> None:
        raise AssertionError("it was never ready")

    assert not await ran(supervisor, on_ready)
    assert supervisor.pids() == {}


async def test_ends_what_takes_requests_before_what_answers_them(programs: Programs) -> None:
    last, first = programs.server("last", rank=2), programs.server("first")
    supervisor = Supervisor([last, programs.server("middle", rank=1), first])

    async def on_ready() -> None:
        supervisor.stop()

    assert await ran(supervisor, on_ready)
    assert programs.lines() == ["first ended", "middle ended", "last ended"]


async def test_kills_what_does_not_end(programs: Programs) -> None:
    supervisor = Supervisor([programs.server("deaf", "stubborn")], end_timeout_s=0.1)
    pids: list[int] = []

    async def on_ready() -> None:
        pids.extend(supervisor.pids().values())
        supervisor.stop()

    assert await ran(supervisor, on_ready)
    assert not psutil.pid_exists(pids[0])
