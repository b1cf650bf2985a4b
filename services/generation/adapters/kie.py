"""kie.ai's job protocol (docs.kie.ai): createTask, then recordInfo until it has ended.

HTTP 200 is not success there: the body's `code` is. `resultJson` is JSON inside a JSON string. What
a model is told stands in tables. It has no cancel, and no way to find a job whose id was lost.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from services.generation.adapters.asking import (
    JOB_ID_LENGTH_MAX,
    UNREADABLE,
    UPLOAD_TIMEOUT_S,
    Answer,
    VendorApi,
    dig,
    is_moderation,
    kept,
    link,
    shown,
    without_effect,
)
from services.generation.adapters.providers import (
    Accepted,
    Fault,
    InputImage,
    Job,
    Look,
    Refused,
    Running,
    Submission,
    Succeeded,
)
from services.generation.domain.pictures import nearest_ratio

SEEDS_HOST: Final = "https://kie.ai"
HOST: Final = "https://api.kie.ai"
UPLOAD_HOST: Final = "https://kieai.redpandaai.co"
"""Where kie.ai itself takes files; wherever else we are told to ask, files go to the same place."""
UPLOAD_PATH: Final = "smartspec"
RATE_WINDOW_S: Final = 10.0
"""What exceeds its limit is dropped, and nothing is taken until the window is over."""
OK: Final = 200
DONE: Final = 100

_FAULT_BY_CODE: Final = {
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
_SIZE_CLASSES: Final = ((1_024, "1K"), (2_048, "2K"))


def _size(job: Job) -> tuple[int, int]:
    assert job.width is not None, "a picture or film has a size"
    assert job.height is not None, "a picture or film has a size"
    return job.width, job.height


def _prompt(job: Job) -> str:
    return job.prompt


def _ratio(job: Job) -> str:
    return nearest_ratio(*_size(job))


def _size_class(job: Job) -> str:
    long_side = max(_size(job))
    return next((name for limit, name in _SIZE_CLASSES if long_side <= limit), "4K")


def _film_class(job: Job) -> str:
    return f"{min(_size(job))}p"


def _duration(job: Job) -> str:
    assert job.duration_s is not None, "a film has a length"
    return f"{job.duration_s:g}"


def _option(name: str) -> Callable[[Job], Any]:
    return lambda job: job.options.get(name)


_DRAWN: Final[Mapping[str, Callable[[Job], Any]]] = {
    "prompt": _prompt,
    "aspect_ratio": _ratio,
    "seed": _option("seed"),
    "negative_prompt": _option("negative_prompt"),
}
FIELDS: Final[Mapping[str, Mapping[str, Callable[[Job], Any]]]] = {
    "image": {**_DRAWN, "resolution": _size_class},
    "video": {**_DRAWN, "resolution": _film_class, "duration": _duration},
    "audio": {
        "text": _prompt,
        "voice": _option("voice_id"),
        "speed": _option("speed"),
        "language_code": _option("language"),
    },
}
"""The input by type of task; a field that says nothing is left out."""
ALWAYS: Final[Mapping[str, Mapping[str, Any]]] = {"nano-banana-pro": {"output_format": "png"}}
"""What a model is told whatever the job."""
PICTURES_IN: Final[Mapping[str, str]] = {"image": "image_input", "video": "image_urls"}
"""The field that takes the addresses of pictures, by type of task."""


class KieProvider(VendorApi):
    """kie.ai under one key. `base_url` is the host, with or without the seed's `/api/v1`."""

    @staticmethod
    def headers_with(api_key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    @staticmethod
    def host_of(base_url: str) -> str:
        host = base_url.removesuffix("/api/v1")
        return HOST if host == SEEDS_HOST else host

    async def submit(self, job: Job) -> Submission:
        given = _input(job)
        if job.input_image is not None:
            url = await self._upload(job.input_image)
            if isinstance(url, Refused):
                return without_effect(url)
            given[PICTURES_IN[job.task_type]] = [url]
        order: dict[str, Any] = {"model": job.model, "input": given}
        if job.callback_url is not None:
            order["callBackUrl"] = job.callback_url
        data = _data(await self.ask("POST", "/api/v1/jobs/createTask", json=order))
        if isinstance(data, Refused):
            return data
        job_id = kept(data.get("taskId"), JOB_ID_LENGTH_MAX)
        return UNREADABLE if job_id is None else Accepted(job_id)

    async def look(self, provider_job_id: str) -> Look:
        data = _data(
            await self.ask("GET", "/api/v1/jobs/recordInfo", params={"taskId": provider_job_id})
        )
        if isinstance(data, Refused):
            return without_effect(data)
        match data.get("state"):
            case "success":
                return _result(data)
            case "fail":
                return _failure(data)
            case _:
                return Running(_progress(data))

    async def _upload(self, image: InputImage) -> str | Refused:
        """Its address at the vendor, who keeps it for days."""
        host = UPLOAD_HOST if self._base_url == HOST else self._base_url
        kind = image.mime_type.rpartition("/")[2]
        data = _data(
            await self.ask(
                "POST",
                f"{host}/api/file-stream-upload",
                data={"uploadPath": UPLOAD_PATH},
                files={"file": (f"input.{kind}", image.content, image.mime_type)},
                timeout_s=UPLOAD_TIMEOUT_S,
            )
        )
        if isinstance(data, Refused):
            return data
        return link(data.get("downloadUrl")) or link(data.get("fileUrl")) or UNREADABLE


def _input(job: Job) -> dict[str, Any]:
    said = {name: field(job) for name, field in FIELDS[job.task_type].items()}
    said.update(ALWAYS.get(job.model, {}))
    return {name: value for name, value in said.items() if value is not None}


def _data(answer: Answer | Refused) -> dict[str, Any] | Refused:
    """The body's `data`, or what its code says is wrong."""
    if isinstance(answer, Refused):
        return answer
    body = answer.json()
    code = _code(dig(body, "code"))
    if code is None:
        known = answer.status in _FAULT_BY_CODE
        return _refusal(answer, answer.status, "") if known else UNREADABLE
    if code != OK:
        return _refusal(answer, code, dig(body, "msg") or dig(body, "message"))
    data = dig(body, "data")
    return data if isinstance(data, dict) else Refused(Fault.UNKNOWN, "An answer without data.")


def _code(value: object) -> int | None:
    """The code as a number, which it need not be: JSON may say Infinity."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]  # whatever it is
    except (ValueError, TypeError, OverflowError):
        return None


def _refusal(answer: Answer, code: int, words: object) -> Refused:
    fault = _FAULT_BY_CODE.get(code, Fault.UNKNOWN)
    if fault == Fault.INVALID and is_moderation(words):
        fault = Fault.MODERATED
    refused = answer.refused(fault, words)
    if fault != Fault.RATE_LIMITED:
        return refused
    return Refused(fault, refused.message, max(RATE_WINDOW_S, refused.retry_after_s or 0.0))


def _result(data: Mapping[str, Any]) -> Look:
    try:
        told = dig(json.loads(data["resultJson"]), "resultUrls")
    except (ValueError, KeyError, TypeError, RecursionError):
        told = None
    urls = [link(url) for url in told] if isinstance(told, list) else [None]
    found = tuple(url for url in urls if url is not None)
    if len(found) < len(urls):
        return Refused(Fault.FAILED, "The provider named no result.")
    return Succeeded(found)


def _failure(data: Mapping[str, Any]) -> Refused:
    words = data.get("failMsg") or "The provider could not make it."
    return Refused(Fault.MODERATED if is_moderation(words) else Fault.FAILED, shown(words))


def _progress(data: Mapping[str, Any]) -> int:
    value = data.get("progress")
    return int(value) if isinstance(value, int | float) and 0 <= value < DONE else 0
