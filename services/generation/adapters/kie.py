"""kie.ai's job protocol (docs.kie.ai): createTask, then recordInfo until it has ended.

HTTP 200 is not success there: the body's `code` is. `resultJson` is JSON inside a JSON string.
"""

import asyncio
import json
from typing import Any, TypeGuard

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
ANSWER_TIMEOUT_S = 30.0
"""For a whole answer: httpx bounds only the wait for each piece of it."""
RATE_WINDOW_S = 10.0
ANSWER_BYTES_MAX = 1_000_000
MESSAGE_LENGTH_MAX = 300
JOB_ID_LENGTH_MAX = 200
URL_LENGTH_MAX = 4_096
OK = 200
DONE = 100

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
_UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading a stranger's JSON can raise: it may be nested without end, or say Infinity."""
_MODERATION_WORDS = ("moderat", "nsfw", "sensitive", "polic", "prohibited", "safety")


class KieProvider:
    """kie.ai under one key. `base_url` is the host, with or without the seed's `/api/v1`."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._base_url = base_url
        self._answer_timeout_s = answer_timeout_s
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._client = client or httpx.AsyncClient(
            base_url=base_url.rstrip("/").removesuffix("/api/v1"),
            headers={"User-Agent": "SmartSpec"},
            timeout=TIMEOUT,
            limits=LIMITS,
            trust_env=False,
        )

    def under(self, api_key: str) -> "KieProvider":
        return KieProvider(
            self._base_url,
            api_key,
            answer_timeout_s=self._answer_timeout_s,
            client=self._client,
        )

    async def submit(self, job: Job) -> Submission:
        body = {"model": job.model, "input": _input(job)}
        try:
            status, text = await self._ask("POST", "/api/v1/jobs/createTask", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return Refused(Fault.UNAVAILABLE, "The provider could not be reached.")
        except (httpx.HTTPError, TimeoutError):
            return Refused(Fault.UNKNOWN, "The provider's answer was lost.")
        data = _data(status, text)
        if isinstance(data, Refused):
            return data
        job_id = data.get("taskId")
        if not _is_plain(job_id, JOB_ID_LENGTH_MAX):
            return Refused(Fault.UNKNOWN, "The provider's answer could not be read.")
        return Accepted(job_id)

    async def look(self, provider_job_id: str) -> Look:
        try:
            status, text = await self._ask(
                "GET", "/api/v1/jobs/recordInfo", params={"taskId": provider_job_id}
            )
        except (httpx.HTTPError, TimeoutError):
            return Refused(Fault.UNAVAILABLE, "The provider could not be reached.")
        data = _data(status, text)
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

    async def cancel(self, provider_job_id: str) -> bool:
        """There is no way to."""
        del provider_job_id
        return False

    async def find(self, job: Job) -> Submission | None:
        """There is neither a key of a request nor a list of jobs."""
        del job
        return None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, method: str, path: str, **sent: Any) -> tuple[int, bytes]:
        """Status and body; a body beyond `ANSWER_BYTES_MAX` is cut off, and so unreadable."""
        body = bytearray()
        async with (
            asyncio.timeout(self._answer_timeout_s),
            self._client.stream(method, path, headers=self._headers, **sent) as answer,
        ):
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > ANSWER_BYTES_MAX:
                    return answer.status_code, b""
            return answer.status_code, bytes(body)


def _input(job: Job) -> dict[str, Any]:
    assert job.width is not None, "a picture has a size"
    assert job.height is not None, "a picture has a size"
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


def _data(status: int, text: bytes) -> dict[str, Any] | Refused:
    """The body's `data`, or what its code says is wrong."""
    try:
        body = json.loads(text)
        code = int(body["code"])
    except _UNREADABLE:
        if status in _FAULT_BY_CODE:
            return _refusal(status, "")
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
    return Refused(fault, _words(words), wait)


def _readable(refused: Refused) -> Refused:
    return Refused(Fault.UNAVAILABLE, refused.message)


def _result(data: dict[str, Any]) -> Look:
    try:
        urls = json.loads(data["resultJson"])["resultUrls"]
    except _UNREADABLE:
        urls = None
    if not isinstance(urls, list) or not all(_is_plain(url, URL_LENGTH_MAX) for url in urls):
        return Refused(Fault.FAILED, "The provider named no result.")
    return Succeeded(tuple(urls))


def _failure(data: dict[str, Any]) -> Refused:
    words = str(data.get("failMsg") or "The provider could not make it.")
    fault = Fault.MODERATED if _is_moderation(words) else Fault.FAILED
    return Refused(fault, _words(words))


def _is_plain(value: object, length_max: int) -> TypeGuard[str]:
    """Whether it is text that can be kept: PostgreSQL refuses NUL, and half a surrogate pair."""
    return isinstance(value, str) and 0 < len(value) <= length_max and value.isprintable()


def _words(text: str) -> str:
    """A vendor's message, short, and such that it can be kept."""
    return "".join(mark for mark in text[:MESSAGE_LENGTH_MAX] if mark.isprintable())


def _is_moderation(words: str) -> bool:
    return any(word in words.lower() for word in _MODERATION_WORDS)


def _progress(data: dict[str, Any]) -> int:
    value = data.get("progress")
    return int(value) if isinstance(value, int | float) and 0 <= value < DONE else 0
