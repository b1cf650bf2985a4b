"""Google's Gemini image models: one generateContent call that answers with the picture itself.

https://ai.google.dev/gemini-api/docs/image-generation. There is no job to look at again: an answer
that is lost after the request was sent can't be asked for, so it is `UNKNOWN`.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from services.generation.adapters.providers import (
    Fault,
    Job,
    Look,
    Made,
    Refused,
    Submission,
)
from services.generation.domain.pictures import nearest_ratio

ANSWER_TIMEOUT_S: Final = 50.0
"""Less than a job's lease: whoever still waits must be the one who records what came of it."""
TIMEOUT: Final = httpx.Timeout(connect=5.0, read=ANSWER_TIMEOUT_S, write=10.0, pool=5.0)
LIMITS: Final = httpx.Limits(max_connections=32, max_keepalive_connections=16)
ANSWER_BYTES_MAX: Final = 64 * 1_024 * 1_024
MESSAGE_LENGTH_MAX: Final = 300
RETRY_AFTER_S: Final = 10.0
RETRY_AFTER_MAX_S: Final = 600.0
SEED_RANGE: Final = 2**31
OK: Final = 200
UNAVAILABLE_FROM: Final = 500

_FAULT_BY_STATUS: Final[Mapping[int, Fault]] = {
    400: Fault.INVALID,
    401: Fault.AUTH,
    403: Fault.AUTH,
    404: Fault.FAILED,
    408: Fault.UNAVAILABLE,
    413: Fault.INVALID,
    429: Fault.RATE_LIMITED,
}
_SIZE_CLASSES: Final = ((1_024, "1K"), (2_048, "2K"))
_WITHHELD: Final = frozenset(
    {
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "SAFETY",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "BLOCKLIST",
        "SPII",
    }
)
"""Reasons to finish without a picture that are about what is in it."""
_DELAY: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)s")
_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class GoogleProvider:
    """The Gemini API under one key."""

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
        self._headers = {"x-goog-api-key": api_key}
        self._client = client or httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"User-Agent": "SmartSpec"},
            timeout=TIMEOUT,
            limits=LIMITS,
            trust_env=False,
        )

    def under(self, api_key: str) -> "GoogleProvider":
        return GoogleProvider(
            self._base_url,
            api_key,
            answer_timeout_s=self._answer_timeout_s,
            client=self._client,
        )

    async def submit(self, job: Job) -> Submission:
        path = f"/v1beta/models/{job.model}:generateContent"
        try:
            status, text = await self._ask(path, _body(job))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return Refused(Fault.UNAVAILABLE, "The provider could not be reached.")
        except (httpx.HTTPError, TimeoutError):
            return Refused(Fault.UNKNOWN, "The provider's answer was lost.")
        return _picture(text) if status == OK else _refusal(status, text)

    async def look(self, provider_job_id: str) -> Look:
        """Nothing is left to look at: the answer to the request was all."""
        del provider_job_id
        return Refused(Fault.LOST, "The provider keeps no jobs.")

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

    async def _ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and body; a body beyond `ANSWER_BYTES_MAX` is cut off, and so unreadable."""
        received = bytearray()
        async with (
            asyncio.timeout(self._answer_timeout_s),
            self._client.stream("POST", path, headers=self._headers, json=body) as answer,
        ):
            async for piece in answer.aiter_bytes():
                received += piece
                if len(received) > ANSWER_BYTES_MAX:
                    return answer.status_code, b""
            return answer.status_code, bytes(received)


def _body(job: Job) -> Mapping[str, Any]:
    assert job.width is not None, "a picture has a size"
    assert job.height is not None, "a picture has a size"
    long_side = max(job.width, job.height)
    config: dict[str, Any] = {
        "responseModalities": ["IMAGE"],
        "imageConfig": {
            "aspectRatio": nearest_ratio(job.width, job.height),
            "imageSize": next((name for limit, name in _SIZE_CLASSES if long_side <= limit), "4K"),
        },
    }
    seed = job.options.get("seed")
    if seed is not None:
        config["seed"] = seed % SEED_RANGE
    unwanted = job.options.get("negative_prompt")
    prompt = job.prompt if unwanted is None else f"{job.prompt}\n\nWithout: {unwanted}"
    return {
        "contents": [{"role": "user", "parts": [{"text": prompt}]}],
        "generationConfig": config,
    }


def _picture(text: bytes) -> Submission:
    """The first picture of an answer, or why there is none."""
    try:
        answer = json.loads(text)
        content = next(_pictures(answer), None)
        if content is not None:
            return Made(base64.b64decode(content, validate=True))
        blocked = answer.get("promptFeedback", {}).get("blockReason")
        reasons = {candidate.get("finishReason") for candidate in answer.get("candidates", ())}
    except (*_UNREADABLE, binascii.Error):
        return Refused(Fault.UNKNOWN, "The provider's answer could not be read.")
    if blocked is not None or reasons & _WITHHELD:
        return Refused(Fault.MODERATED, "The provider withheld the picture.")
    return Refused(Fault.FAILED, "The provider made no picture.")


def _pictures(answer: Mapping[str, Any]) -> Iterator[str]:
    """Parts mix words, thoughts and pictures; a thought's picture is a draft."""
    for candidate in answer.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            inline = part.get("inlineData")
            if inline is not None and not part.get("thought"):
                yield inline["data"]


def _refusal(status: int, text: bytes) -> Refused:
    try:
        error = json.loads(text)["error"]
        words, details = str(error.get("message", "")), list(error.get("details", ()))
    except _UNREADABLE:
        words, details = "", []
    fallback = Fault.UNAVAILABLE if status >= UNAVAILABLE_FROM else Fault.UNKNOWN
    fault = _FAULT_BY_STATUS.get(status, fallback)
    if fault == Fault.INVALID and "api key" in words.lower():
        fault = Fault.AUTH
    wait_s = _retry_after_s(details) if fault == Fault.RATE_LIMITED else None
    shown = "".join(mark for mark in words[:MESSAGE_LENGTH_MAX] if mark.isprintable())
    return Refused(fault, shown, wait_s)


def _retry_after_s(details: list[Any]) -> float:
    for detail in details:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        found = _DELAY.fullmatch(delay) if isinstance(delay, str) else None
        if found is not None:
            return min(float(found[1]), RETRY_AFTER_MAX_S)
    return RETRY_AFTER_S
