"""Google's Gemini image models: one generateContent call that answers with the picture itself.

https://ai.google.dev/gemini-api/docs/image-generation. There is no job to look at again: an answer
that is lost after the request was sent can't be asked for, so it is `UNKNOWN`.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from services.generation.adapters.asking import (
    FAULT_BY_STATUS,
    RETRY_AFTER_MAX_S,
    UNREADABLE,
    Answer,
    VendorApi,
    dig,
    items,
)
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
ANSWER_BYTES_MAX: Final = 64 * 1_024 * 1_024
SEED_RANGE: Final = 2**31

_FAULTS: Final[Mapping[int, Fault]] = {
    **FAULT_BY_STATUS,
    404: Fault.FAILED,
    500: Fault.UNAVAILABLE,
}
"""What Google itself failed to make, it does not bill; after 502 and 504 nobody knows."""
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


class GoogleProvider(VendorApi):
    """The Gemini API under one key."""

    answer_timeout_s: ClassVar[float] = ANSWER_TIMEOUT_S

    @staticmethod
    def headers_with(api_key: str) -> dict[str, str]:
        return {"x-goog-api-key": api_key}

    async def submit(self, job: Job) -> Submission:
        path = f"/v1beta/models/{job.model}:generateContent"
        answer = await self.ask("POST", path, json=_body(job), bytes_max=ANSWER_BYTES_MAX)
        if isinstance(answer, Refused):
            return answer
        return _picture(answer.json()) if answer.ok else _refusal(answer)

    async def look(self, provider_job_id: str) -> Look:
        """Nothing is left to look at: the answer to the request was all."""
        del provider_job_id
        return Refused(Fault.LOST, "The provider keeps no jobs.")


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
    parts: list[dict[str, Any]] = [{"text": prompt}]
    if job.input_image is not None:
        data = base64.b64encode(job.input_image.content).decode()
        parts.append({"inlineData": {"mimeType": job.input_image.mime_type, "data": data}})
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def _picture(body: object) -> Submission:
    """The first picture of an answer, or why there is none."""
    if not isinstance(body, dict):
        return UNREADABLE
    candidates = items(body.get("candidates"))
    if not all(isinstance(candidate, dict) for candidate in candidates):
        return UNREADABLE
    inline = next(_pictures(candidates), None)
    if inline is not None:
        content = _decoded(dig(inline, "data"))
        return UNREADABLE if content is None else Made(content)
    blocked = dig(body, "promptFeedback", "blockReason")
    reasons = [dig(candidate, "finishReason") for candidate in candidates]
    if blocked is not None or any(reason in _WITHHELD for reason in map(str, reasons)):
        return Refused(Fault.MODERATED, "The provider withheld the picture.")
    return Refused(Fault.FAILED, "The provider made no picture.")


def _pictures(candidates: list[Any]) -> Iterator[Any]:
    """Parts mix words, thoughts and pictures; a thought's picture is a draft."""
    for candidate in candidates:
        for part in items(dig(candidate, "content", "parts")):
            inline = dig(part, "inlineData")
            if inline is not None and not dig(part, "thought"):
                yield inline


def _decoded(text: object) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) and text else None
    except ValueError:
        return None


def _refusal(answer: Answer) -> Refused:
    error = dig(answer.json(), "error")
    words = dig(error, "message")
    fault = _FAULTS.get(answer.status, Fault.UNKNOWN)
    if fault == Fault.INVALID and isinstance(words, str) and "api key" in words.lower():
        fault = Fault.AUTH
    refused = answer.refused(fault, words)
    delay_s = _delay_s(items(dig(error, "details")))
    if fault != Fault.RATE_LIMITED or delay_s is None:
        return refused
    return Refused(fault, refused.message, delay_s)


def _delay_s(details: list[Any]) -> float | None:
    for detail in details:
        delay = dig(detail, "retryDelay")
        found = _DELAY.fullmatch(delay) if isinstance(delay, str) else None
        if found is not None:
            return min(float(found[1]), RETRY_AFTER_MAX_S)
    return None
