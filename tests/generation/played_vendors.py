"""The adapters at the vendors: played by the simulator, or saying exactly what a test scripts."""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from kernel.clock import SystemClock
from services.generation.adapters.asking import VendorApi
from services.generation.adapters.elevenlabs import ElevenLabsProvider
from services.generation.adapters.google import GoogleProvider
from services.generation.adapters.heygen import HeyGenProvider, HeyGenV2Provider
from services.generation.adapters.kie import KieProvider
from services.generation.adapters.leonardo import LeonardoProvider
from services.generation.adapters.providers import InputImage, Job
from services.simulator.adapters.png import canned_png
from services.simulator.app import create_app
from services.simulator.domain.heygen import LOOKS, VOICES
from services.simulator.settings import SimulatorSettings

KEY = "vendor-key"
LOOK, VOICE = next(iter(LOOKS)), next(iter(VOICES))
AVATAR = {"avatar_id": LOOK, "voice_id": VOICE}
PICTURE = InputImage(canned_png(1, 8, b""), "image/png")

ADAPTERS: Mapping[str, type[VendorApi]] = {
    "kie": KieProvider,
    "kie_film": KieProvider,
    "kie_speech": KieProvider,
    "google": GoogleProvider,
    "heygen": HeyGenProvider,
    "heygen_v2": HeyGenV2Provider,
    "leonardo": LeonardoProvider,
    "elevenlabs": ElevenLabsProvider,
}
JOBS: Mapping[str, Job] = {
    "kie": Job("nano-banana-pro", "A harbour", 1_024, 576, {}, key="job-key"),
    "kie_film": Job(
        "wan/2-6-text-to-video", "A harbour", 1_280, 720, {}, "video", 5.0, key="job-key"
    ),
    "kie_speech": Job(
        "elevenlabs/text-to-speech-multilingual-v2",
        *("A harbour", None, None, {}, "audio"),
        key="job-key",
    ),
    "google": Job("gemini-3.1-flash-image", "A harbour", 1_024, 576, {}, key="job-key"),
    "heygen": Job("avatar", "A harbour", None, None, AVATAR, "avatar", key="job-key"),
    "heygen_v2": Job("avatar", "A harbour", None, None, AVATAR, "avatar", key="job-key"),
    "leonardo": Job("MOTION2", "A harbour", 1_280, 720, {}, "video", 5.0, key="job-key"),
    "elevenlabs": Job(
        "eleven_multilingual_v2", "A harbour", None, None, {}, "audio", key="job-key"
    ),
}


class _Wire(httpx.ASGITransport):
    """A connection that the simulator cuts is one that the network cut."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except ConnectionResetError as error:
            raise httpx.ReadError("cut") from error


@dataclass
class Played:
    """All vendors, by the simulator."""

    http: httpx.AsyncClient
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def provider(self, name: str) -> Any:
        base_url = f"http://vendors.test/{name.partition('_')[0]}"
        client = httpx.AsyncClient(transport=self.http._transport, base_url=base_url)
        self.clients.append(client)
        return ADAPTERS[name](base_url, KEY, client=client)

    async def orders(self) -> list[dict[str, Any]]:
        """What became a job there."""
        asked = (await self.http.get("/_journal")).json()["asked"]
        return [one for one in asked if one["task_id"]]


@asynccontextmanager
async def played(home: Path) -> AsyncIterator[Played]:
    app = create_app(SimulatorSettings(home=home, canned=True, warm_after_s=60), SystemClock())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=_Wire(app), base_url="http://vendors.test") as http,
    ):
        yield Played(http)


@dataclass
class Scripted:
    """Answers with the next of `script`, the last one for ever, and keeps what it was asked."""

    script: deque[httpx.Response] = field(default_factory=deque)
    heard: list[httpx.Request] = field(default_factory=list)

    def say(self, body: object, status: int = 200, **headers: str) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.script.append(httpx.Response(status, json=body, headers=told))

    def provider(self, name: str) -> Any:
        client = httpx.AsyncClient(
            transport=httpx.MockTransport(self._answer), base_url="https://vendor.test"
        )
        return ADAPTERS[name]("https://vendor.test", KEY, client=client)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request)
        answer = self.script.popleft() if len(self.script) > 1 else self.script[0]
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
