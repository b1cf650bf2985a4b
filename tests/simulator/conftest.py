import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from kernel.clock import SystemClock
from services.simulator.app import create_app
from services.simulator.settings import SimulatorSettings

LOOKS = 1_000


class Caller:
    """A client of the simulated kie.ai over real HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def create(self, prompt: str, *, key: str = "k", **fields: Any) -> dict[str, Any]:
        body = {"model": "nano-banana-pro", "input": {"prompt": prompt, **fields}}
        answer = await self.http.post(
            "/kie/api/v1/jobs/createTask", json=body, headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code == 200
        return dict(answer.json())

    async def created(self, prompt: str, **fields: Any) -> str:
        answer = await self.create(prompt, **fields)
        assert answer["code"] == 200, answer
        return str(answer["data"]["taskId"])

    async def look(self, task_id: str, key: str = "k") -> dict[str, Any]:
        answer = await self.http.get(
            "/kie/api/v1/jobs/recordInfo",
            params={"taskId": task_id},
            headers={"Authorization": f"Bearer {key}"},
        )
        return dict(answer.json())

    async def done(self, task_id: str, key: str = "k") -> dict[str, Any]:
        for _ in range(LOOKS):
            answer = await self.look(task_id, key)
            if answer["code"] == 200 and answer["data"]["state"] in {"success", "fail"}:
                return dict(answer["data"])
            await asyncio.sleep(0.02)
        raise AssertionError("the job did not end")

    async def scenario(self, name: str, **fields: Any) -> None:
        answer = await self.http.post("/_scenarios", json={"name": name, **fields})
        assert answer.status_code == 201, answer.text

    async def asked(self) -> list[dict[str, Any]]:
        return list((await self.http.get("/_journal")).json()["asked"])


Vendor = Callable[..., AbstractAsyncContextManager[Caller]]


@asynccontextmanager
async def serving(settings: SimulatorSettings) -> AsyncIterator[Caller]:
    app = create_app(settings, SystemClock())
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    )
    task = asyncio.create_task(server.serve())
    for _ in range(LOOKS):
        if server.started:
            break
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            yield Caller(http)
    finally:
        server.should_exit = True
        await task


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    """`async with vendor(**settings) as caller`: one simulator over the test's own folder."""

    def start(**given: Any) -> AbstractAsyncContextManager[Caller]:
        thrifty = {"workers": 1, "warm_after_s": 60, **given}
        return serving(SimulatorSettings(home=tmp_path, **thrifty))

    return start


@pytest.fixture
async def canned(tmp_path: Path) -> AsyncIterator[Caller]:
    """A simulator that renders nothing, called without a socket between."""
    settings = SimulatorSettings(home=tmp_path, canned=True, warm_after_s=60)
    app = create_app(settings, SystemClock())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kie.test") as http,
    ):
        yield Caller(http)
