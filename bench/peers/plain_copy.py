"""The same bytes copied plainly: a client, an aiohttp proxy, and a Starlette app that writes the
body to a file, flushed to the disk, and gives it back. No form is parsed and nothing is checked.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import uvicorn
import uvloop
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from bench.copying import bytes_of, got, sent
from bench.peer import ROOT, arguments, say
from kernel.runtime import quiet_port

HOST: Final = "127.0.0.1"
LISTENING_S: Final = 20.0
UPSTREAM: Final = "upstream"
PROXY: Final = "proxy"


async def measure(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        copy = Path(folder, "copy")
        async with (
            _serving(UPSTREAM, str(copy)) as upstream,
            _serving(PROXY, upstream) as url,
        ):
            sent_s, _ = await sent(url, path)
            size = bytes_of(copy)
            got_s = await got(url, size)
    mib = bytes_of(path) / 2**20
    say({"upload_mib_per_s": mib / sent_s, "download_mib_per_s": mib / got_s})


@asynccontextmanager
async def _serving(part: str, told: str) -> AsyncIterator[str]:
    """A server in a process of its own; its address."""
    port = quiet_port(start=os.getpid() % 10_000)
    module = "bench.peers.plain_copy"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, part, told, str(port), cwd=ROOT
    )
    try:
        await _until_listening(port)
        yield f"http://{HOST}:{port}/"
    finally:
        process.kill()
        await process.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(LISTENING_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def _upstream(copy: Path, port: int) -> None:
    async def put(request: Request) -> Response:
        with copy.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return JSONResponse({"size": bytes_of(copy)})

    async def get(_: Request) -> Response:
        return FileResponse(copy)

    app = Starlette(routes=[Route("/", put, methods=["POST"]), Route("/", get)])
    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False)


def _proxy(upstream: str, port: int) -> None:
    async def passed(request: web.Request) -> web.StreamResponse:
        session = request.app[_SESSION]
        body = request.content.iter_any() if request.method == "POST" else None
        async with session.request(request.method, upstream, data=body) as answer:
            response = web.StreamResponse(status=answer.status, headers=_lengths(answer))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            app[_SESSION] = session
            yield

    app = web.Application(client_max_size=2**40)
    app.cleanup_ctx.append(opened)
    app.router.add_route("*", "/", passed)
    uvloop.install()
    web.run_app(app, host=HOST, port=port, print=None, access_log=None)


def _lengths(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in ("Content-Length",) if name in answer.headers}


_SESSION: Final = web.AppKey("session", aiohttp.ClientSession)

if __name__ == "__main__":
    match sys.argv[1:]:
        case [part, told, port] if part == UPSTREAM:
            _upstream(Path(told), int(port))
        case [_, told, port]:
            _proxy(told, int(port))
        case _:
            asyncio.run(measure(Path(arguments()["path"])))
