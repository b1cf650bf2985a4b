"""The vendors as an adapter meets them: how each is ordered from, and how it tells of the end."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from services.simulator.domain.elevenlabs import VOICES as SPOKEN
from services.simulator.domain.heygen import LOOKS, VOICES

LOOKS_MAX = 500
LOOK = next(iter(LOOKS))
VOICE = next(iter(VOICES))
SPEAKER = next(iter(SPOKEN))
DONE = {"success", "fail", "completed", "failed", "COMPLETE", "FAILED"}

Headers = Callable[[str], dict[str, str]]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def x_api_key(key: str) -> dict[str, str]:
    return {"x-api-key": key}


def xi_api_key(key: str) -> dict[str, str]:
    return {"xi-api-key": key}


@dataclass(frozen=True)
class End:
    """How a job ended: its state, where its result is, and the vendor's code of a failure."""

    state: str
    url: str = ""
    code: str = ""


@dataclass(frozen=True)
class Vendor:
    """One order at one vendor; without `read_end` the answer to the order is the result itself."""

    path: str
    body: Callable[[str], dict[str, Any]]
    headers: Headers
    read_id: Callable[[Any], str] = str
    look_at: str = ""
    read_end: Callable[[Any], End] | None = None

    async def create(
        self,
        http: httpx.AsyncClient,
        words: str = "a quiet harbour",
        key: str = "k",
        **more: Mapping[str, str],
    ) -> httpx.Response:
        headers = {**self.headers(key), **more.get("headers", {})}
        return await http.post(self.path, json=self.body(words), headers=headers)

    async def created(self, http: httpx.AsyncClient, words: str = "a harbour") -> str:
        answer = await self.create(http, words)
        assert answer.status_code == 200, answer.text
        return self.read_id(answer.json())

    async def look(self, http: httpx.AsyncClient, job: str, key: str = "k") -> httpx.Response:
        return await http.get(self.look_at.format(job), headers=self.headers(key))

    async def done(self, http: httpx.AsyncClient, job: str) -> End:
        assert self.read_end is not None
        for _ in range(LOOKS_MAX):
            end = self.read_end((await self.look(http, job)).json())
            if end.state in DONE:
                return end
            await asyncio.sleep(0.02)
        raise AssertionError("the job did not end")


def _kie_end(answer: Any) -> End:
    data = answer["data"]
    urls = json.loads(data["resultJson"])["resultUrls"] if data["resultJson"] else [""]
    return End(data["state"], urls[0], data["failCode"])


def _kie(model: str, **given: Any) -> Vendor:
    words = "text" if "text-to-speech" in model else "prompt"
    return Vendor(
        "/kie/api/v1/jobs/createTask",
        lambda text: {"model": model, "input": {words: text, **given}},
        bearer,
        lambda answer: str(answer["data"]["taskId"]),
        "/kie/api/v1/jobs/recordInfo?taskId={}",
        _kie_end,
    )


def _heygen_v3_end(answer: Any) -> End:
    data = answer["data"]
    return End(data["status"], data["video_url"] or "", data["failure_code"] or "")


def _heygen_v2_end(answer: Any) -> End:
    data = answer["data"]
    return End(data["status"], data["video_url"] or "", (data["error"] or {}).get("code", ""))


def heygen_v3(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "avatar", "avatar_id": LOOK, "voice_id": VOICE, "script": text, **more}


def heygen_v2(text: str, **more: Any) -> dict[str, Any]:
    scene = {
        "character": {"type": "avatar", "avatar_id": LOOK},
        "voice": {"type": "text", "input_text": text, "voice_id": VOICE},
    }
    return {"video_inputs": [scene], **more}


def _leonardo_end(answer: Any) -> End:
    found = answer["generations_by_pk"]
    images = found["generated_images"] or [{"url": "", "motionMP4URL": None}]
    code = (found["failedReason"] or {}).get("type", "")
    return End(found["status"], images[0]["motionMP4URL"] or images[0]["url"], code)


def leonardo_v2(text: str, model: str = "gemini-image-2", **more: Any) -> dict[str, Any]:
    return {"model": model, "parameters": {"prompt": text, **more}, "public": False}


_LEONARDO_LOOK = "/leonardo/api/rest/v1/generations/{}"
_GOOGLE = "/google/v1/models/gemini-3.1-flash-image:generateContent"
VENDORS: Mapping[str, Vendor] = {
    "kie": _kie("wan/2-6-text-to-video", duration="5", resolution="720p"),
    "kie_speech": _kie("elevenlabs/text-to-speech-multilingual-v2", voice="Rachel"),
    "heygen": Vendor(
        "/heygen/v3/videos",
        heygen_v3,
        x_api_key,
        lambda answer: str(answer["data"]["video_id"]),
        "/heygen/v3/videos/{}",
        _heygen_v3_end,
    ),
    "heygen_v2": Vendor(
        "/heygen/v2/video/generate",
        heygen_v2,
        x_api_key,
        lambda answer: str(answer["data"]["video_id"]),
        "/heygen/v1/video_status.get?video_id={}",
        _heygen_v2_end,
    ),
    "leonardo": Vendor(
        "/leonardo/api/rest/v2/generations",
        leonardo_v2,
        bearer,
        lambda answer: str(answer["generate"]["generationId"]),
        _LEONARDO_LOOK,
        _leonardo_end,
    ),
    "leonardo_film": Vendor(
        "/leonardo/api/rest/v1/generations-text-to-video",
        lambda text: {"prompt": text, "model": "MOTION2", "resolution": "RESOLUTION_720"},
        bearer,
        lambda answer: str(answer["motionVideoGenerationJob"]["generationId"]),
        _LEONARDO_LOOK,
        _leonardo_end,
    ),
    "elevenlabs": Vendor(
        f"/elevenlabs/v1/text-to-speech/{SPEAKER}",
        lambda text: {"text": text, "model_id": "eleven_multilingual_v2"},
        xi_api_key,
    ),
    "google": Vendor(
        _GOOGLE,
        lambda text: {"contents": [{"parts": [{"text": text}]}]},
        lambda key: {"x-goog-api-key": key},
    ),
}

Refusal = Callable[[Any], Any]
REFUSALS: Mapping[str, Refusal] = {
    "kie": lambda body: body["code"],
    "kie_speech": lambda body: body["code"],
    "heygen": lambda body: body["error"]["code"],
    "heygen_v2": lambda body: body["error"]["code"],
    "leonardo": lambda body: body["code"],
    "leonardo_film": lambda body: body["code"],
    "elevenlabs": lambda body: body["detail"]["status"],
    "google": lambda body: body["error"]["status"],
}
"""The vendor's own name of a refusal, by vendor."""
