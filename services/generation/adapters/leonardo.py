"""Leonardo's films by its v1 API, as its own SDK uses it (docs.leonardo.ai).

A refusal may come with HTTP 200, as `error` and `code` in the body. A job has no name of ours, but
the seed that was sent is told in the list of an account's generations: we always send one, so that
a job whose answer was lost is found by it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from services.generation.adapters.asking import (
    FAULT_BY_STATUS,
    JOB_ID_LENGTH_MAX,
    UNREADABLE,
    UPLOAD_TIMEOUT_S,
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
    Fault,
    InputImage,
    Job,
    Look,
    Refused,
    Running,
    Submission,
    Succeeded,
)

V1: Final = "/api/rest/v1"
ANSWER_TIMEOUT_S: Final = 14.0
"""A submit with a picture asks twice, and uploads between: all of it within a job's lease."""
SEED_RANGE: Final = 2_147_483_637
UPLOAD_HOSTS: Final = ".amazonaws.com"
"""Where it lets files be put, besides its own host."""
FIELD_LENGTH_MAX: Final = 10_000
LISTED: Final = 50
"""How many of an account's newest generations a lost job is looked for among."""
LIST_BYTES_MAX: Final = 4_000_000

_FAULT_BY_CODE: Final[Mapping[str, Fault]] = {
    "access-denied": Fault.AUTH,
    "invalid-jwt": Fault.AUTH,
    "validation-failed": Fault.INVALID,
    "invalid-file-extension": Fault.INVALID,
    "bad-request": Fault.INVALID,
}
_FAULT_BY_WORDS: Final = (
    (("credit", "token balance", "not enough"), Fault.CREDITS),
    (("too many", "rate limit", "concurren"), Fault.RATE_LIMITED),
)
"""What it has no code for."""
SPEAKING_STATUSES: Final = frozenset({402, 403, 429, 503})
"""Statuses that say all, whatever the body does."""


class LeonardoProvider(VendorApi):
    """Leonardo under one key."""

    answer_timeout_s: ClassVar[float] = ANSWER_TIMEOUT_S

    @staticmethod
    def headers_with(api_key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    @staticmethod
    def host_of(base_url: str) -> str:
        return base_url.removesuffix(V1)

    async def submit(self, job: Job) -> Submission:
        path, order = "generations-text-to-video", _order(job)
        if job.input_image is not None:
            image_id = await self._upload(job.input_image)
            if isinstance(image_id, Refused):
                return without_effect(image_id)
            path = "generations-image-to-video"
            order |= {"imageId": image_id, "imageType": "UPLOADED"}
        body = _body(await self.ask("POST", f"{V1}/{path}", json=order))
        if isinstance(body, Refused):
            return body
        job_id = _generation_id(body)
        return UNREADABLE if job_id is None else Accepted(job_id)

    async def find(self, job: Job) -> Submission | None:
        me = _body(await self.ask("GET", f"{V1}/me"))
        user_id = kept(dig(me, "user_details", 0, "user", "id"), JOB_ID_LENGTH_MAX)
        if isinstance(me, Refused) or user_id is None:
            return without_effect(me if isinstance(me, Refused) else UNREADABLE)
        listed = _body(
            await self.ask(
                "GET",
                f"{V1}/generations/user/{quote(user_id, safe='')}",
                params={"offset": "0", "limit": str(LISTED)},
                bytes_max=LIST_BYTES_MAX,
            )
        )
        generations = dig(listed, "generations")
        if isinstance(listed, Refused) or not isinstance(generations, list):
            return without_effect(listed if isinstance(listed, Refused) else UNREADABLE)
        return _found(job, generations)

    async def look(self, provider_job_id: str) -> Look:
        body = _body(await self.ask("GET", _path(provider_job_id)))
        if isinstance(body, Refused):
            return without_effect(body)
        if not isinstance(body, dict) or "generations_by_pk" not in body:
            return without_effect(UNREADABLE)
        return _seen(body["generations_by_pk"])

    async def cancel(self, provider_job_id: str) -> bool:
        """What has ended is billed; of the rest its documentation says nothing, and deleting it is
        the one way to end it."""
        if not isinstance(await self.look(provider_job_id), Running):
            return False
        body = _body(await self.ask("DELETE", _path(provider_job_id)))
        return dig(body, "delete_generations_by_pk", "id") is not None

    async def _upload(self, image: InputImage) -> str | Refused:
        """The picture's id: a place for it is asked for, and then it is put there."""
        kind = image.mime_type.rpartition("/")[2]
        extension = {"jpeg": "jpg"}.get(kind, kind)
        body = _body(await self.ask("POST", f"{V1}/init-image", json={"extension": extension}))
        if isinstance(body, Refused):
            return body
        place = dig(body, "uploadInitImage")
        image_id = kept(dig(place, "id"), JOB_ID_LENGTH_MAX)
        url, fields = link(dig(place, "url")), _form(dig(place, "fields"))
        if image_id is None or url is None or fields is None or not self._may_upload_to(url):
            return UNREADABLE
        answer = await self.ask(
            "POST",
            url,
            keyed=False,
            data=fields,
            files={"file": (f"input.{extension}", image.content, image.mime_type)},
            timeout_s=UPLOAD_TIMEOUT_S,
        )
        if isinstance(answer, Refused):
            return answer
        if answer.ok:
            return image_id
        return answer.refused(FAULT_BY_STATUS.get(answer.status, Fault.UNAVAILABLE), None)

    def _may_upload_to(self, url: str) -> bool:
        """An address that a stranger gives must not lead into our own network."""
        try:
            there, here = urlsplit(url), urlsplit(self._base_url)
        except ValueError:
            return False
        own = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        return own or (there.scheme == "https" and there.netloc.endswith(UPLOAD_HOSTS))


def _path(generation_id: str) -> str:
    return f"{V1}/generations/{quote(generation_id, safe='')}"


def _order(job: Job) -> dict[str, Any]:
    assert job.width is not None, "a film has a size"
    assert job.height is not None, "a film has a size"
    order = {
        "prompt": job.prompt,
        "model": job.model,
        "resolution": f"RESOLUTION_{min(job.width, job.height)}",
        "width": job.width,
        "height": job.height,
        "seed": _seed(job),
        "isPublic": False,
    }
    if (unwanted := job.options.get("negative_prompt")) is not None:
        order["negativePrompt"] = unwanted
    return order


def _seed(job: Job) -> int:
    """The one asked for, else one that is the job's own."""
    seed = job.options.get("seed")
    if seed is None:
        seed = int.from_bytes(hashlib.sha256(job.key.encode()).digest()[:8], "big")
    return int(seed) % SEED_RANGE


def _found(job: Job, generations: list[Any]) -> Submission | None:
    """A seed of the user's own may be that of another job too, which is as good as not knowing."""
    seed = _seed(job)
    for one in generations:
        job_id = kept(dig(one, "id"), JOB_ID_LENGTH_MAX)
        if job_id is not None and dig(one, "seed") == seed:
            return Accepted(job_id) if job.options.get("seed") is None else None
    if len(generations) >= LISTED:
        return None
    return Refused(Fault.LOST, "The provider has no such generation.")


def _body(answer: Answer | Refused) -> Any:
    """The body of an answer that is no refusal."""
    if isinstance(answer, Refused):
        return answer
    body = answer.json()
    error = dig(body, "error") or dig(body, "errors", 0, "message")
    if answer.ok and error is None:
        return UNREADABLE if body is None else body
    return answer.refused(_fault(answer.status, dig(body, "code"), error), error)


def _fault(status: int, code: object, words: object) -> Fault:
    if status in SPEAKING_STATUSES:
        return FAULT_BY_STATUS[status]
    if is_moderation(words):
        return Fault.MODERATED
    text = words.lower() if isinstance(words, str) else ""
    for marks, fault in _FAULT_BY_WORDS:
        if any(mark in text for mark in marks):
            return fault
    known = _FAULT_BY_CODE.get(code) if isinstance(code, str) else None
    return known or FAULT_BY_STATUS.get(status, Fault.UNKNOWN)


def _generation_id(body: object) -> str | None:
    """Each of its routes wraps the id in a job of another name."""
    jobs = [body, *body.values()] if isinstance(body, dict) else []
    ids = (kept(dig(job, "generationId"), JOB_ID_LENGTH_MAX) for job in jobs)
    return next((job_id for job_id in ids if job_id is not None), None)


def _seen(generation: object) -> Look:
    if generation is None:
        return Refused(Fault.LOST, "The provider does not know the generation.")
    match dig(generation, "status"):
        case "COMPLETE":
            return _result(items(dig(generation, "generated_images")))
        case "FAILED":
            reason = dig(generation, "failedReason")
            words = dig(reason, "message") or reason
            withheld = any(map(is_moderation, (dig(reason, "type"), words)))
            fault = Fault.MODERATED if withheld or _flagged(generation) else Fault.FAILED
            return Refused(fault, shown(words))
        case _:
            return Running(0)


def _flagged(generation: object) -> bool:
    checks = items(dig(generation, "prompt_moderations"))
    return any(items(dig(check, "moderationClassification")) for check in checks)


def _result(images: list[Any]) -> Look:
    """A film's own address; `url` may be its first picture."""
    urls = [link(dig(image, "motionMP4URL")) or link(dig(image, "url")) for image in images]
    found = tuple(url for url in urls if url is not None)
    return Succeeded(found) if found else Refused(Fault.FAILED, "The provider named no result.")


def _form(text: object) -> dict[str, str] | None:
    """The fields that the upload's form must have: JSON inside a string."""
    try:
        fields = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    sendable = all(kept(text, FIELD_LENGTH_MAX) for text in (*fields, *fields.values()))
    return fields if sendable else None
