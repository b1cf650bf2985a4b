"""python -m bench.telemetry: what traces and metrics cost, on, off, and beside having none at all.

Prints JSON and writes bench/results/telemetry.json; what the figures mean is in bench/README.md.
"""

import asyncio
import multiprocessing
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from timeit import timeit
from typing import Any, Final, Self
from unittest.mock import patch

from fastapi import APIRouter
from starlette.types import ASGIApp

import kernel.http.app
from bench.repetitions import machine, write
from kernel import logs
from kernel.clock import SystemClock, new_id
from kernel.context import Origin, caused_by
from kernel.embedded_postgres import EmbeddedPostgres
from kernel.event_store import EventStore
from kernel.http import InternalTokens, create_app
from kernel.migrations import migrate
from kernel.sql import Database
from kernel.telemetry import tracing
from kernel.telemetry.exporting import Exporting
from kernel.telemetry.metrics import POOL_WAIT, REQUESTS
from services.__main__ import migration_folders
from services.gateway.adapters.upstream import call
from tests.kernel.totals import ADDING, SCHEMA, TOTAL, Add, announce

ROUNDS: Final = 15
"""Of each variant, in turn; a ratio is the median of those within a round."""
AT_ONCE: Final = 32
COMMANDS: Final = 300
REQUESTS_SENT: Final = 1_000
CALLS: Final = 100_000
FLUSH_TIMEOUT_S: Final = 5.0


def main() -> int:
    logs.configure("WARNING")  # a line for each request would hide what is looked for
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder, _sink() as endpoint:
        Path(folder).chmod(0o711)  # the embedded server runs as another user when we are root
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            result = asyncio.run(_measure(postgres.start(), endpoint))
        finally:
            postgres.stop()
    return write("telemetry", {"machine": machine(), **result})


async def _measure(dsn: str, endpoint: str) -> dict[str, Any]:
    await migrate(dsn, migration_folders())
    database = await Database.connect(dsn)
    store = EventStore(database, SCHEMA, [TOTAL], clock=SystemClock(), announce=announce)
    app = _app()

    async def command() -> None:
        await store.handle(ADDING, f"total-{new_id()}", Add(1))

    async def request() -> None:
        answer = await call(app, "GET", f"/things/{new_id()}", answer_bytes_max=1_000)
        assert answer.status == 200, answer  # noqa: PLR2004 - HTTP's own number

    try:
        return {
            "command": await _compared(command, COMMANDS, endpoint),
            "request": await _compared(request, REQUESTS_SENT, endpoint),
            "one_call_ns": _calls(),
        }
    finally:
        await database.close()


async def _compared(
    work: Callable[[], Awaitable[None]], count: int, endpoint: str
) -> dict[str, Any]:
    """`work` under each variant, round by round, so that whatever else runs here meets all alike.

    Processor time is what is compared: it is this process's alone, the exporting thread included.
    """
    variants: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "without": _without,
        "off": nullcontext,
        "on": lambda: _exported(endpoint),
    }
    spent: dict[str, list[float]] = {name: [] for name in variants}
    took: dict[str, list[float]] = {name: [] for name in variants}
    await _all(work, count)  # warms caches; not counted
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            began_s, began_cpu_s = perf_counter(), process_time()
            with variant():
                await _all(work, count)
            took[name].append((perf_counter() - began_s) / count)
            spent[name].append((process_time() - began_cpu_s) / count)
    return {
        "cpu_us": {name: round(median(values) * 1e6, 1) for name, values in spent.items()},
        "per_s": {name: round(1 / median(values)) for name, values in took.items()},
        "off_to_without": _ratio(spent["off"], spent["without"]),
        "on_to_without": _ratio(spent["on"], spent["without"]),
    }


def _ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return round(median([one / other for one, other in zip(ones, others, strict=True)]), 3)


async def _all(work: Callable[[], Awaitable[None]], count: int) -> None:
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


def _calls() -> dict[str, int]:
    """Single calls while nobody listens."""

    def span() -> None:
        with tracing.deciding(SCHEMA):
            pass

    def count() -> None:
        REQUESTS.labels("bench", "GET", "/things/{thing}", "200").inc()

    calls: dict[str, Callable[[], object]] = {
        "span_off": span,
        "counter_with_labels": count,
        "histogram": lambda: POOL_WAIT.observe(0.001),
    }
    return {name: round(timeit(one, number=CALLS) / CALLS * 1e9) for name, one in calls.items()}


def _app() -> ASGIApp:
    router = APIRouter()

    @router.get("/things/{thing}")
    async def find(thing: str) -> dict[str, str]:
        return {"thing": thing}

    async def ready() -> bool:
        return True

    tokens = InternalTokens(b"a secret of benchmarks, and of nothing else", SystemClock())
    return create_app("bench", [router], internal_tokens=tokens, ready=ready)


@contextmanager
def _exported(endpoint: str) -> Iterator[None]:
    """Until all spans are sent: they are part of the cost."""
    exporting = Exporting.to_collector(endpoint, "memory")
    tracing.export_to(exporting)
    try:
        yield
    finally:
        tracing.export_to(None)
        assert exporting.close(FLUSH_TIMEOUT_S), "the sink did not keep up"


class _BareRequest:
    """`ServedRequest` without a trace, a span or a metric: what there was before them."""

    def __init__(self, service: str, *_: object) -> None:
        self.origin = Origin(f"req_{new_id().hex}")
        self.route: str | None = None
        self.status: int | None = None
        self._inside = caused_by(self.origin, service)

    def __enter__(self) -> Self:
        self._inside.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.__exit__(None, None, None)


@contextmanager
def _without() -> Iterator[None]:
    nothing = nullcontext()
    with (
        patch.object(tracing, "deciding", lambda _: nothing),
        patch.object(tracing, "committing", lambda _: nothing),
        patch.object(POOL_WAIT, "observe", lambda _: None),
        patch.object(kernel.http.app, "ServedRequest", _BareRequest),
    ):
        yield


@contextmanager
def _sink() -> Iterator[str]:
    """A collector that forgets all, in a process of its own; its address."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_swallow, args=(its,))
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _swallow(pipe: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
