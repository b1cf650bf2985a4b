"""kie.ai's job protocol (docs.kie.ai): createTask, then recordInfo until it has ended.

HTTP 200 is not success there: the body's `code` is. `resultJson` is JSON inside a JSON string.
"""

import json
from typing import Any

import httpx

from services.generation.adapters.providers import (
    Accepted,
    Fault,
    Job,
    Look,
    Refused,
    Running,
    Submission,
    Succeeded,
)
from services.generation.domain.pictures import nearest_ratio

TIMEOUT = httpx.Timeout(connect=5.0, read=20.0, write=10.0, pool=5.0)
LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=16)
RATE_WINDOW_S = 10.0
ANSWER_BYTES_MAX = 1_000_000
MESSAGE_LENGTH_MAX = 300
OK = 200

_FAULT_BY_CODE = {
    400: Fault.INVALID,
    401: Fault.AUTH,
    402: Fault.CREDITS,
    404: Fault.LOST,
    408: Fault.UNAVAILABLE,
    422: Fault.INVALID,
    429: Fault.RATE_LIMITED,
    433: Fault.RATE_LIMITED,
    455: Fault.UNAVAILABLE,
    501: Fault.FAILED,
    505: Fault.UNAVAILABLE,
}
_SIZE_CLASSES = ((1_024, "1K"), (2_048, "2K"))
_MODERATION_WORDS = ("moderat", "nsfw", "sensitive", "policy", "prohibited", "safety")


class KieProvider:
    """kie.ai under one key. `base_url` is the host, with or without the seed's `/api/v1`."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/").removesuffix("/api/v1"),
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "SmartSpec"},
            timeout=TIMEOUT,
            limits=LIMITS,
            trust_env=False,
        )

    async def submit(self, job: Job) -> Submission:
        body = {"model": job.model, "input": _input(job)}
        try:
            answer = await self._client.post("/api/v1/jobs/createTask", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return Refused(Fault.UNAVAILABLE, "The provider could not be reached.")
        except httpx.HTTPError:
            return Refused(Fault.UNKNOWN, "The provider's answer was lost.")
        data = _data(answer)
        if isinstance(data, Refused):
            return data
        job_id = data.get("taskId")
        if not isinstance(job_id, str) or not job_id:
            return Refused(Fault.UNKNOWN, "The provider's answer could not be read.")
        return Accepted(job_id)

    async def look(self, provider_job_id: str) -> Look:
        try:
            answer = await self._client.get(
                "/api/v1/jobs/recordInfo", params={"taskId": provider_job_id}
            )
        except httpx.HTTPError:
            return Refused(Fault.UNAVAILABLE, "The provider could not be reached.")
        data = _data(answer)
        if isinstance(data, Refused):
            # A look has no effect, so an unreadable answer is only a reason to look again.
            return _readable(data) if data.fault == Fault.UNKNOWN else data
        match data.get("state"):
            case "success":
                return _result(data)
            case "fail":
                return _failure(data)
            case _:
                return Running(_progress(data))

    async def aclose(self) -> None:
        await self._client.aclose()


def _input(job: Job) -> dict[str, Any]:
    long_side = max(job.width, job.height)
    size = next((name for limit, name in _SIZE_CLASSES if long_side <= limit), "4K")
    fields: dict[str, Any] = {
        "prompt": job.prompt,
        "aspect_ratio": nearest_ratio(job.width, job.height),
        "resolution": size,
    }
    if job.model == "nano-banana-pro":
        fields["output_format"] = "png"
    for name in ("seed", "negative_prompt"):
        if job.options.get(name) is not None:
            fields[name] = job.options[name]
    return fields


def _data(answer: httpx.Response) -> dict[str, Any] | Refused:
    """The body's `data`, or what its code says is wrong."""
    if len(answer.content) > ANSWER_BYTES_MAX:
        return Refused(Fault.UNKNOWN, "The provider's answer was too large.")
    try:
        body = answer.json()
        code = int(body["code"])
    except (ValueError, KeyError, TypeError):
        if answer.status_code in _FAULT_BY_CODE:
            return _refusal(answer.status_code, "")
        return Refused(Fault.UNKNOWN, "The provider's answer could not be read.")
    if code != OK:
        return _refusal(code, str(body.get("msg") or body.get("message") or ""))
    data = body.get("data")
    return data if isinstance(data, dict) else Refused(Fault.UNKNOWN, "An answer without data.")


def _refusal(code: int, words: str) -> Refused:
    fault = _FAULT_BY_CODE.get(code, Fault.UNKNOWN)
    if fault == Fault.INVALID and _is_moderation(words):
        fault = Fault.MODERATED
    wait = RATE_WINDOW_S if fault == Fault.RATE_LIMITED else None
    return Refused(fault, words[:MESSAGE_LENGTH_MAX], wait)


def _readable(refused: Refused) -> Refused:
    return Refused(Fault.UNAVAILABLE, refused.message)


def _result(data: dict[str, Any]) -> Look:
    try:
        urls = json.loads(data["resultJson"])["resultUrls"]
        return Succeeded(tuple(str(url) for url in urls))
    except (ValueError, KeyError, TypeError):
        return Refused(Fault.FAILED, "The provider named no result.")


def _failure(data: dict[str, Any]) -> Refused:
    words = str(data.get("failMsg") or "The provider could not make it.")
    fault = Fault.MODERATED if _is_moderation(words) else Fault.FAILED
    return Refused(fault, words[:MESSAGE_LENGTH_MAX])


def _is_moderation(words: str) -> bool:
    return any(word in words.lower() for word in _MODERATION_WORDS)


def _progress(data: dict[str, Any]) -> int:
    value = data.get("progress")
    return max(0, min(99, int(value))) if isinstance(value, int | float) else 0
