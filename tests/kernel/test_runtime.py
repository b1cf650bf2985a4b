"""The process: in which order it starts and ends, and what ends it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import httpx
import pytest
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernel.bus import MemoryBus
from kernel.clock import new_id
from kernel.runtime import Endpoint, Runtime, bind
from kernel.service import Service
from kernel.waiting import Waiters
from tests.kernel.totals import eventually

LIMIT_S = 20.0


async def answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def serving(answering: Callable[[], Awaitable[bytes]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await answer(send, await answering())

    return app


async def lifespan(receive: Receive, send: Send) -> None:
    for event in ("startup", "shutdown"):
        message: Message = await receive()
        assert message["type"] == f"lifespan.{event}"
        await send({"type": f"lifespan.{event}.complete"})


async def hello() -> bytes:
    return b"hello"


def endpoint(app: ASGIApp | None = None) -> Endpoint:
    return Endpoint("gateway", app or serving(hello), bind("127.0.0.1", 0))


async def for_ever() -> None:
    await asyncio.Event().wait()


class Resource:
    def __init__(self, log: list[str], name: str) -> None:
        self._log = log
        self._name = name

    async def aclose(self) -> None:
        self._log.append(self._name)


async def ended(runtime: Runtime, on_ready: Callable[[], Awaitable[None]] | None = None) -> bool:
    """How the runtime ended; it is stopped as soon as it is ready unless `on_ready` is given."""

    async def stop() -> None:
        runtime.stop()

    async with asyncio.timeout(LIMIT_S):
        return await runtime.run(on_ready or stop)


async def test_is_ready_when_it_answers_and_ends_when_it_is_asked() -> None:
    at = endpoint()
    runtime = Runtime([], MemoryBus(), [at])
    said: list[object] = [runtime.ready]

    async def on_ready() -> None:
        async with httpx.AsyncClient() as client:
            got = await client.get(f"http://127.0.0.1:{at.port}/")
        said.extend([got.text, runtime.ready])
        runtime.stop()

    assert await ended(runtime, on_ready)
    assert said == [False, "hello", True]
    assert not runtime.ready


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    async def on_ready() -> None:
        os.kill(os.getpid(), number)

    assert await ended(Runtime([], MemoryBus(), [endpoint()]), on_ready)


async def test_starts_workers_before_it_serves_and_closes_resources_after_them() -> None:
    log: list[str] = []

    async def work() -> None:
        log.append("worker started")
        try:
            await for_ever()
        finally:
            log.append("worker ended")

    service = Service("one", workers=(work,), resources=(Resource(log, "closed"),))
    runtime = Runtime([service], MemoryBus(), [endpoint()])

    async def on_ready() -> None:
        log.append("ready")
        runtime.stop()

    assert await ended(runtime, on_ready)
    assert log == ["worker started", "ready", "worker ended", "closed"]


async def die() -> None:
    raise RuntimeError("dead")


async def end() -> None:
    return


async def meet_a_cancelled_future() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("worker", [die, end, meet_a_cancelled_future])
async def test_a_worker_that_ends_by_itself_ends_the_process_with_a_failure(
    worker: Callable[[], Awaitable[None]],
) -> None:
    log: list[str] = []
    service = Service("one", workers=(worker, for_ever), resources=(Resource(log, "closed"),))

    async def on_ready() -> None:
        return

    with structlog.testing.capture_logs() as logs:
        assert not await ended(Runtime([service], MemoryBus(), [endpoint()]), on_ready)
    assert log == ["closed"]
    assert any(line.get("service") == "one" and line["log_level"] == "error" for line in logs)


async def test_an_app_that_can_not_start_ends_the_process_with_a_failure() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    called: list[bool] = []

    async def on_ready() -> None:
        called.append(True)

    assert not await ended(Runtime([], MemoryBus(), [endpoint(app)]), on_ready)
    assert called == []


async def test_a_service_that_can_not_start_ends_the_others() -> None:
    log: list[str] = []
    bus = MemoryBus()
    first = Service("first", workers=(for_ever,), resources=(Resource(log, "closed"),))

    class Unstartable(Service):
        async def start(self, bus: object, failed: object) -> None:
            raise ConnectionError("no database")

    runtime = Runtime([first, Unstartable("second")], bus, [])
    with pytest.raises(ConnectionError):
        await ended(runtime)
    assert log == ["closed"]
    assert first._worker_tasks == []


async def test_ends_in_time_with_an_open_long_poll_and_answers_it() -> None:
    waiters, polling = Waiters(), asyncio.Event()

    async def poll() -> bytes:
        with waiters.subscribed(new_id()) as changed:

            async def read() -> bytes:
                polling.set()
                return b"as it is now"

            return await waiters.until(changed, read, lambda _: False, 3_600)

    at = endpoint(serving(poll))
    runtime = Runtime([Service("one", waiters=waiters)], MemoryBus(), [at])
    answers: list[asyncio.Task[httpx.Response]] = []

    async def on_ready() -> None:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(timeout=LIMIT_S) as client:
                return await client.get(f"http://127.0.0.1:{at.port}/")

        answers.append(asyncio.create_task(ask()))
        await polling.wait()
        runtime.stop()

    assert await ended(runtime, on_ready)
    assert (await answers[0]).content == b"as it is now"


async def test_ends_in_time_with_a_request_that_never_ends() -> None:
    begun = asyncio.Event()

    async def hang() -> bytes:
        begun.set()
        await for_ever()
        return b""

    at = endpoint(serving(hang))
    runtime = Runtime([], MemoryBus(), [at])
    asking: list[asyncio.Task[httpx.Response]] = []

    async def on_ready() -> None:
        client = httpx.AsyncClient(timeout=LIMIT_S)
        asking.append(asyncio.create_task(client.get(f"http://127.0.0.1:{at.port}/")))
        await begun.wait()
        runtime.stop()

    assert await ended(runtime, on_ready)
    await eventually(asking[0].done)
    asking[0].exception()


def test_a_port_that_is_taken_is_refused() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1])
