"""ElevenLabs' speech (elevenlabs.io/docs): one call that answers with the sound itself.

There is no job to look at again: an answer that is lost after the request was sent can't be asked
for, so it is `UNKNOWN`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from services.generation.adapters.asking import (
    FAULT_BY_STATUS,
    JOB_ID_LENGTH_MAX,
    UNREADABLE,
    Answer,
    VendorApi,
    dig,
    is_moderation,
    items,
    kept,
    link,
)
from services.generation.adapters.providers import (
    Fault,
    Job,
    Look,
    Made,
    Refused,
    Submission,
    Voice,
)

ANSWER_TIMEOUT_S: Final = 50.0
"""Less than a job's lease: whoever still waits must be the one who records what came of it."""
ANSWER_BYTES_MAX: Final = 64 * 1_024 * 1_024
LIST_BYTES_MAX: Final = 8_000_000
DEFAULT_VOICE_ID: Final = "21m00Tcm4TlvDq8ikWAM"
"""Who speaks where nobody was named; the catalogue says the same."""
FORMATS: Final = {"mp3": "mp3_44100_128", "wav": "wav_44100"}
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 20
NAME_LENGTH_MAX: Final = 200
_FAULTS: Final[Mapping[int, Fault]] = {**FAULT_BY_STATUS, 500: Fault.UNAVAILABLE}
"""What ElevenLabs itself failed to make, it does not bill; after 502 and 504 nobody knows."""

_FAULT_BY_WORD: Final[Mapping[str, Fault]] = {
    "quota_exceeded": Fault.CREDITS,
    "invalid_api_key": Fault.AUTH,
    "missing_permissions": Fault.AUTH,
    "too_many_concurrent_requests": Fault.RATE_LIMITED,
    "system_busy": Fault.RATE_LIMITED,
    "content_against_policy": Fault.MODERATED,
    "generation_failed": Fault.FAILED,
    "output_format_not_allowed": Fault.AUTH,
}
"""By the detail's own status, which says more than HTTP's: both a wrong key and an empty account
are 401, and a format that the account's plan does not have is 400 or 403."""


class ElevenLabsProvider(VendorApi):
    """ElevenLabs under one key."""

    answer_timeout_s: ClassVar[float] = ANSWER_TIMEOUT_S

    @staticmethod
    def headers_with(api_key: str) -> dict[str, str]:
        return {"xi-api-key": api_key}

    async def submit(self, job: Job) -> Submission:
        voice_id = job.options.get("voice_id", DEFAULT_VOICE_ID)
        answer = await self.ask(
            "POST",
            f"/v1/text-to-speech/{quote(voice_id, safe='')}",
            params={"output_format": FORMATS[job.options.get("format", "mp3")]},
            json=_order(job),
            bytes_max=ANSWER_BYTES_MAX,
        )
        if isinstance(answer, Refused):
            return answer
        if not answer.ok:
            return _refusal(answer)
        sounds = answer.headers.get("content-type", "").startswith("audio/")
        return Made(answer.content) if sounds and answer.content else UNREADABLE

    async def look(self, provider_job_id: str) -> Look:
        """Nothing is left to look at: the answer to the request was all."""
        del provider_job_id
        return Refused(Fault.LOST, "The provider keeps no jobs.")

    async def voices(self) -> Sequence[Voice] | Refused:
        found: list[Voice] = []
        token: str | None = None
        for _ in range(PAGES_MAX):
            query = {"page_size": str(PAGE_SIZE)} | ({"next_page_token": token} if token else {})
            answer = await self.ask("GET", "/v2/voices", params=query, bytes_max=LIST_BYTES_MAX)
            if isinstance(answer, Refused):
                return answer
            if not answer.ok:
                return _refusal(answer)
            body = answer.json()
            found += [one for one in map(_voice, items(dig(body, "voices"))) if one is not None]
            token = kept(dig(body, "next_page_token"), NAME_LENGTH_MAX)
            if not dig(body, "has_more") or token is None:
                break
        return tuple(found)


def _order(job: Job) -> dict[str, Any]:
    order: dict[str, Any] = {"text": job.prompt, "model_id": job.model}
    if (language := job.options.get("language")) is not None:
        order["language_code"] = language
    if (speed := job.options.get("speed")) is not None:
        order["voice_settings"] = {"speed": speed}
    return order


def _refusal(answer: Answer) -> Refused:
    """`detail` is one status and message, or a list of faults in the request."""
    detail = dig(answer.json(), "detail")
    word = dig(detail, "status")
    words = dig(detail, "message") or dig(detail, 0, "msg")
    fault = _FAULT_BY_WORD.get(word) if isinstance(word, str) else None
    fault = fault or _FAULTS.get(answer.status, Fault.UNKNOWN)
    if fault == Fault.INVALID and (is_moderation(word) or is_moderation(words)):
        fault = Fault.MODERATED
    return answer.refused(fault, words)


def _voice(told: object) -> Voice | None:
    voice_id = kept(dig(told, "voice_id"), JOB_ID_LENGTH_MAX)
    if voice_id is None:
        return None
    return Voice(
        voice_id,
        kept(dig(told, "name"), NAME_LENGTH_MAX) or voice_id,
        kept(dig(told, "labels", "language"), NAME_LENGTH_MAX) or "",
        kept(dig(told, "labels", "gender"), NAME_LENGTH_MAX) or "",
        link(dig(told, "preview_url")),
    )
