"""HeyGen's talking avatars (docs.heygen.com): v3, and the older v2 behind a setting.

v3 knows a repeated order by its `Idempotency-Key`, so that one whose answer was lost is found by
ordering it again. Neither has a cancel.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
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
    shown,
    without_effect,
)
from services.generation.adapters.providers import (
    Accepted,
    Avatar,
    Fault,
    Job,
    Look,
    Refused,
    Running,
    Submission,
    Succeeded,
    Voice,
)
from services.generation.domain.films import film_size

RESOLUTIONS: Final = {"low": "720p", "medium": "720p", "high": "1080p"}
"""By quality; v3's smallest is 720p."""
SMALL: Final = "480p"
"""What v2, which takes any size, makes of low quality."""
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 50
LIST_BYTES_MAX: Final = 8_000_000
NAME_LENGTH_MAX: Final = 200

_FAULT_BY_WORD: Final[Mapping[str, Fault]] = {
    "unauthorized": Fault.AUTH,
    "forbidden": Fault.AUTH,
    "insufficient_credit": Fault.CREDITS,
    "validation_error": Fault.INVALID,
    "invalid_parameter": Fault.INVALID,
    "not_found": Fault.INVALID,
    "download_failed": Fault.INVALID,
    "conflict": Fault.FAILED,
    "request_in_progress": Fault.UNKNOWN,
    "rate_limit_exceeded": Fault.RATE_LIMITED,
    "service_unavailable": Fault.UNAVAILABLE,
}
"""By the error's own code; what an order can't find is its avatar or its voice."""
_Item = TypeVar("_Item")


class _HeyGen(VendorApi):
    @staticmethod
    def headers_with(api_key: str) -> dict[str, str]:
        return {"X-Api-Key": api_key}


class HeyGenProvider(_HeyGen):
    """v3 under one key."""

    async def submit(self, job: Job) -> Submission:
        known_by = {"Idempotency-Key": job.key} if job.key else {}
        return _submission(
            await self.ask(
                "POST", "/v3/videos", json=_order_v3(job) | _callback(job), headers=known_by
            )
        )

    async def find(self, job: Job) -> Submission | None:
        """The first answer is given again for 24 hours."""
        return await self.submit(job) if job.key else None

    async def look(self, provider_job_id: str) -> Look:
        answer = await self.ask("GET", f"/v3/videos/{quote(provider_job_id, safe='')}")
        data = _looked_at(answer)
        if isinstance(data, Refused):
            return data
        urls = (dig(data, "captioned_video_url"), dig(data, "video_url"))
        return _seen(data, urls, dig(data, "failure_code"), dig(data, "failure_message"))

    async def voices(self) -> Sequence[Voice] | Refused:
        return await self._listed("/v3/voices", _voice)

    async def avatars(self) -> Sequence[Avatar] | Refused:
        """Looks, as they are called there: each is what an order calls its avatar."""
        return await self._listed("/v3/avatars/looks", _avatar)

    async def _listed(
        self, path: str, read: Callable[[object], _Item | None]
    ) -> Sequence[_Item] | Refused:
        """All pages; what can't be read of them is left out."""
        found: list[_Item] = []
        token: str | None = None
        for _ in range(PAGES_MAX):
            query = {"limit": str(PAGE_SIZE)} | ({"token": token} if token else {})
            answer = await self.ask("GET", path, params=query, bytes_max=LIST_BYTES_MAX)
            data = _page(answer)
            if isinstance(data, Refused):
                return data
            found += _read(dig(data, "data"), read)
            token = kept(dig(data, "next_token"), NAME_LENGTH_MAX)
            if not dig(data, "has_more") or token is None:
                break
        return tuple(found)


class HeyGenV2Provider(_HeyGen):
    """v2 under one key."""

    async def submit(self, job: Job) -> Submission:
        return _submission(
            await self.ask("POST", "/v2/video/generate", json=_order_v2(job) | _callback(job))
        )

    async def look(self, provider_job_id: str) -> Look:
        answer = await self.ask("GET", "/v1/video_status.get", params={"video_id": provider_job_id})
        data = _looked_at(answer)
        if isinstance(data, Refused):
            return data
        urls = (dig(data, "video_url_caption"), dig(data, "video_url"))
        return _seen(data, urls, dig(data, "error", "code"), dig(data, "error", "message"))

    async def voices(self) -> Sequence[Voice] | Refused:
        return await self._listed("/v2/voices", "voices", _voice)

    async def avatars(self) -> Sequence[Avatar] | Refused:
        return await self._listed("/v2/avatars", "avatars", _avatar)

    async def _listed(
        self, path: str, name: str, read: Callable[[object], _Item | None]
    ) -> Sequence[_Item] | Refused:
        data = _page(await self.ask("GET", path, bytes_max=LIST_BYTES_MAX))
        return data if isinstance(data, Refused) else tuple(_read(dig(data, "data", name), read))


def _callback(job: Job) -> dict[str, Any]:
    return {} if job.callback_url is None else {"callback_url": job.callback_url}


def _order_v3(job: Job) -> dict[str, Any]:
    told = job.options
    settings = {"speed": told.get("speed"), "emotion": _emotion(job)}
    return {
        "type": "avatar",
        "avatar_id": told.get("avatar_id"),
        "voice_id": told.get("voice_id"),
        "script": job.prompt,
        "resolution": RESOLUTIONS[told.get("quality", "medium")],
        "aspect_ratio": told.get("dimension", "16:9"),
        "caption": bool(told.get("caption")),
        "voice_settings": _said(settings),
    }


def _order_v2(job: Job) -> dict[str, Any]:
    told = job.options
    quality, ratio = told.get("quality", "medium"), told.get("dimension", "16:9")
    width, height = film_size(SMALL if quality == "low" else RESOLUTIONS[quality], ratio)
    voice = {
        "type": "text",
        "input_text": job.prompt,
        "voice_id": told.get("voice_id"),
        "speed": told.get("speed"),
        "emotion": _emotion(job),
    }
    character = {"type": "avatar", "avatar_id": told.get("avatar_id"), "avatar_style": "normal"}
    return {
        "video_inputs": [{"character": character, "voice": _said(voice)}],
        "dimension": {"width": width, "height": height},
        "caption": bool(told.get("caption")),
    }


def _emotion(job: Job) -> str | None:
    """They begin with a capital there."""
    emotion = job.options.get("emotion")
    return None if emotion is None else str(emotion).capitalize()


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _submission(answer: Answer | Refused) -> Submission:
    body = _page(answer)
    if isinstance(body, Refused):
        return body
    job_id = kept(dig(body, "data", "video_id"), JOB_ID_LENGTH_MAX)
    return UNREADABLE if job_id is None else Accepted(job_id)


def _looked_at(answer: Answer | Refused) -> Any:
    """What is said of a video, or why nothing is."""
    if isinstance(answer, Answer) and answer.status == 404:  # noqa: PLR2004 - Not Found
        return Refused(Fault.LOST, "The provider does not know the video.")
    body = _page(answer)
    return without_effect(body) if isinstance(body, Refused) else dig(body, "data")


def _seen(data: object, urls: Iterable[object], code: object, words: object) -> Look:
    """`urls` with the best first."""
    match dig(data, "status"):
        case "completed":
            found = next((url for url in map(link, urls) if url is not None), None)
            if found is None:
                return Refused(Fault.FAILED, "The provider named no result.")
            return Succeeded((found,))
        case "failed":
            withheld = is_moderation(code) or is_moderation(words)
            return Refused(Fault.MODERATED if withheld else Fault.FAILED, shown(words))
        case _:
            return Running(0)


def _page(answer: Answer | Refused) -> Any:
    """The body of an answer that is no refusal, which v2 may give with HTTP 200 too."""
    if isinstance(answer, Refused):
        return answer
    body = answer.json()
    error = dig(body, "error")
    if answer.ok and not error:
        return UNREADABLE if body is None else body
    word, words = dig(error, "code"), dig(error, "message")
    fault = _FAULT_BY_WORD.get(word) if isinstance(word, str) else None
    fault = fault or FAULT_BY_STATUS.get(answer.status, Fault.UNKNOWN)
    if fault == Fault.INVALID and (is_moderation(word) or is_moderation(words)):
        fault = Fault.MODERATED
    return answer.refused(fault, words)


def _read(listed: object, read: Callable[[object], _Item | None]) -> list[_Item]:
    return [one for one in map(read, items(listed)) if one is not None]


def _voice(told: object) -> Voice | None:
    voice_id = kept(dig(told, "voice_id"), JOB_ID_LENGTH_MAX)
    if voice_id is None:
        return None
    return Voice(
        voice_id,
        kept(dig(told, "name"), NAME_LENGTH_MAX) or voice_id,
        kept(dig(told, "language"), NAME_LENGTH_MAX) or "",
        kept(dig(told, "gender"), NAME_LENGTH_MAX) or "",
        link(dig(told, "preview_audio_url")) or link(dig(told, "preview_audio")),
    )


def _avatar(told: object) -> Avatar | None:
    """v3 and v2 name the same things differently."""
    avatar_id = kept(dig(told, "id") or dig(told, "avatar_id"), JOB_ID_LENGTH_MAX)
    if avatar_id is None:
        return None
    return Avatar(
        avatar_id,
        kept(dig(told, "name") or dig(told, "avatar_name"), NAME_LENGTH_MAX) or avatar_id,
        kept(dig(told, "gender"), NAME_LENGTH_MAX) or "",
        link(dig(told, "preview_image_url")),
        link(dig(told, "preview_video_url")),
        kept(dig(told, "default_voice_id"), JOB_ID_LENGTH_MAX),
    )
