"""Leonardo's HTTP protocol: orders to v2 or v1, looks at v1, and its own cancel, DELETE.

The webhook belongs to the key there; here one setting is every key's. It carries no signature but
the callback key as a bearer, and, as at the vendor, the key's own record.
"""

import json
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from kernel.clock import new_id
from services.simulator.adapters.outside import Unreadable
from services.simulator.api.desk import Desk, Room, origin
from services.simulator.api.forms import form_file
from services.simulator.api.results import link
from services.simulator.domain.callbacks import Kind
from services.simulator.domain.commissions import Film, Picture
from services.simulator.domain.jobs import DELETED, MODERATED, Job, Outcome, View
from services.simulator.domain.leonardo import (
    CONCURRENT_MAX,
    ENDS,
    FAULTS,
    FILMS_V2,
    IMAGES,
    PREFIX,
    QUEUE_FULL,
    QUEUED_MAX,
    read_extension,
    read_image_to_video,
    read_text_to_video,
    read_v2,
)
from services.simulator.domain.orders import Order, Refused

VENDOR: Final = "leonardo"
MAX_DELETED: Final = 10_000
MAX_INIT_IMAGES: Final = 1_000
FORGED_LINK: Final = "https://forged.invalid/result"


class Leonardo:
    def __init__(self, room: Room) -> None:
        self.room = room
        malformed = Refused(400, "Invalid JSON body", "validation-failed")
        too_large = Refused(413, "The body is too large", "validation-failed")
        self.desk = Desk(room, VENDOR, FAULTS, say, malformed, too_large)
        self.deleted: OrderedDict[str, None] = OrderedDict()
        self.init_images: OrderedDict[str, str] = OrderedDict()
        """The upload's name by the id promised for it; "" until it has arrived."""

    def routes(self) -> list[BaseRoute]:
        v1, v2 = f"{PREFIX}/api/rest/v1", f"{PREFIX}/api/rest/v2"
        text, image = "generations-text-to-video", "generations-image-to-video"
        one = f"{v1}/generations/{{id}}"
        return [
            self.desk.route(f"{v2}/generations", "POST", self.create_v2, "generations"),
            self.desk.route(f"{v1}/{text}", "POST", self.text_to_video, text),
            self.desk.route(f"{v1}/{image}", "POST", self.image_to_video, image),
            self.desk.route(one, "GET", self.show),
            self.desk.route(one, "DELETE", self.delete, "delete"),
            self.desk.route(f"{v1}/generations/user/{{user_id}}", "GET", self.listed),
            self.desk.route(f"{v1}/me", "GET", self.me),
            self.desk.route(f"{v1}/platformModels", "GET", self.models),
            self.desk.route(f"{v1}/init-image", "POST", self.init_image),
            self.desk.route(f"{PREFIX}/init-image-upload/{{id}}", "POST", self.upload),
        ]

    async def create_v2(self, request: Request) -> Response:
        self.desk.bearer(request)
        order = read_v2(await self.desk.body(request))
        job = await self._take(request, "generations", order)
        generate = {"generationId": _shown(job.task_id), "cost": _cost(job)}
        return self.desk.sent(job, JSONResponse({"generate": generate}))

    async def text_to_video(self, request: Request) -> Response:
        self.desk.bearer(request)
        order = read_text_to_video(await self.desk.body(request))
        job = await self._take(request, "generations-text-to-video", order)
        return self.desk.sent(job, _video_job(job))

    async def image_to_video(self, request: Request) -> Response:
        self.desk.bearer(request)
        order = read_image_to_video(await self.desk.body(request))
        job = await self._take(request, "generations-image-to-video", order)
        return self.desk.sent(job, _video_job(job))

    async def show(self, request: Request) -> Response:
        self.desk.bearer(request)
        found = self.desk.look(request, _read_id(request.path_params["id"]))
        if found is None or found[0].task_id in self.deleted or _was_deleted(found[1]):
            return JSONResponse({"generations_by_pk": None})
        return JSONResponse({"generations_by_pk": _generation(*found, origin(request))})

    async def delete(self, request: Request) -> Response:
        """What was made already is charged all the same, and no longer shown."""
        key = self.desk.bearer(request)
        job = self.room.journal.jobs.get(_read_id(request.path_params["id"]))
        if job is None or (job.vendor, job.key) != (VENDOR, key):
            return JSONResponse({"delete_generations_by_pk": None})
        self.room.studio.delete(job.task_id)
        self.deleted[job.task_id] = None
        while len(self.deleted) > MAX_DELETED:
            self.deleted.popitem(last=False)
        return JSONResponse({"delete_generations_by_pk": {"id": _shown(job.task_id)}})

    async def listed(self, request: Request) -> Response:
        """A key's generations, newest first; of another account's there are none."""
        key = self.desk.bearer(request)
        offset, limit = (
            int(told) if (told := request.query_params.get(name, "")).isdecimal() else default
            for name, default in (("offset", 0), ("limit", 10))
        )
        mine = request.path_params["user_id"] == _user_id(key)
        jobs = [
            job
            for job in reversed(self.room.journal.jobs.values())
            if mine and (job.vendor, job.key) == (VENDOR, key) and job.task_id not in self.deleted
        ]
        seen = [(job, self.room.studio.peek(job.task_id)) for job in jobs[offset : offset + limit]]
        base = origin(request)
        shown = [_generation(job, view, base) for job, view in seen if view is not None]
        return JSONResponse({"generations": shown})

    async def me(self, request: Request) -> Response:
        key = self.desk.bearer(request)
        left = self.desk.left(key)
        details = {
            "user": {"id": _user_id(key), "username": key},
            "tokenRenewalDate": None,
            "apiSubscriptionTokens": left,
            "apiPaidTokens": 0,
            "apiConcurrencySlots": CONCURRENT_MAX,
        }
        return JSONResponse({"user_details": [details]})

    async def models(self, request: Request) -> Response:
        self.desk.bearer(request)
        models = [{"id": one, "name": one, "nsfw": False} for one in (*IMAGES, *FILMS_V2)]
        return JSONResponse({"custom_models": models})

    async def init_image(self, request: Request) -> Response:
        """A place to post a picture to: `fields` (JSON in a string) first, then `file`."""
        self.desk.bearer(request)
        extension = read_extension(await self.desk.body(request))
        one = str(new_id())
        self.init_images[one] = ""
        while len(self.init_images) > MAX_INIT_IMAGES:
            self.init_images.popitem(last=False)
        key = f"uploads/init/{one}.{extension}"
        answer = {
            "id": one,
            "url": f"{origin(request)}{PREFIX}/init-image-upload/{one}",
            "fields": json.dumps({"key": key}),
            "key": key,
        }
        return JSONResponse({"uploadInitImage": answer})

    async def upload(self, request: Request) -> Response:
        """The presigned upload: no key, no JSON; 204 as at S3."""
        one = request.path_params["id"]
        if one not in self.init_images:
            raise Refused(403, "Access Denied", "access-denied")
        content, _ = await form_file(request, self.room.uploads.max_bytes)
        try:
            self.init_images[one] = self.room.uploads.keep(content)
        except Unreadable:
            raise Refused(400, "The file is no image", "validation-failed") from None
        return Response(status_code=204)

    async def _take(self, request: Request, operation: str, order: Order) -> Job:
        bill = self.room.journal.bill(VENDOR, request.state.key)
        request.state.order = order
        if bill.unfinished >= CONCURRENT_MAX + QUEUED_MAX:
            raise QUEUE_FULL.anew()
        base = origin(request)

        def compose(job: Job, kind: Kind) -> tuple[bytes, Mapping[str, str]]:
            return self._callback(job, kind, base)

        addressed = replace(order, inputs=tuple(self._input(one, base) for one in order.inputs))
        webhook = self.room.settings.leonardo_webhook_url
        return await self.desk.take(request, operation, addressed, compose, webhook=webhook)

    def _input(self, given: str, base: str) -> str:
        """The upload that an init image's id stands for, or a generated picture's link."""
        if given in self.init_images:
            return self.init_images[given]
        job = self.room.journal.jobs.get(_read_id(given))
        return link(job, base) if job and isinstance(job.commission, Picture) else given

    def _callback(self, job: Job, kind: Kind, base: str) -> tuple[bytes, Mapping[str, str]]:
        now_ms = self.room.studio.now_ms()
        view = self.room.studio.peek(job.task_id) or View("waiting", 0, now_ms)
        if kind == "stale":
            view = View("generating", 1, job.created_ms)
        if kind == "forged":
            view = View("success", 100, now_ms, Outcome(job.task_id, now_ms, 1))
        shown = _generation(job, view, base)
        images = shown.pop("generated_images")
        if kind == "forged":
            images = [{**one, "url": FORGED_LINK} for one in images]
        medium = "video" if isinstance(job.commission, Film) else "image"
        body = {
            "type": f"{medium}_generation.complete",
            "object": "generation",
            "timestamp": now_ms,
            "api_version": "v1",
            "data": {"object": {**shown, "images": images, "apiKey": {"webhookCallbackUrl": ""}}},
        }
        key = self.room.settings.leonardo_webhook_key
        bearer = f"Bearer not {key}" if kind == "forged" else f"Bearer {key}"
        headers = {"authorization": bearer} if key else {}
        return json.dumps(body).encode(), {"content-type": "application/json", **headers}


def say(refused: Refused) -> Response:
    headers = {"retry-after": str(refused.retry_after_s)} if refused.retry_after_s else {}
    body = {"error": refused.message, "path": "$", "code": refused.word}
    return JSONResponse(body, refused.code, headers)


def _video_job(job: Job) -> Response:
    made = {
        "generationId": _shown(job.task_id),
        "apiCreditCost": job.charge_credits,
        "cost": _cost(job),
    }
    return JSONResponse({"motionVideoGenerationJob": made})


def _cost(job: Job) -> dict[str, Any]:
    return {"amount": str(job.charge_credits), "unit": "API_CREDITS"}


def _generation(job: Job, view: View, base: str) -> dict[str, Any]:
    """A generation as a look tells of it; a film's address is `motionMP4URL`, and `url` too."""
    done, failed = view.state == "success", view.state == "fail"
    code = view.outcome.fail_code if view.outcome else ""
    reason, message = ENDS.get(code, ENDS["failed"])
    film = isinstance(job.commission, Film)
    address = link(job, base)
    image = {
        "id": _shown(job.task_id),
        "url": address,
        "nsfw": False,
        "motionMP4URL": address if film else None,
        "likeCount": 0,
    }
    created = datetime.fromtimestamp(job.created_ms / 1000, UTC).replace(tzinfo=None)
    return {
        "id": _shown(job.task_id),
        "status": "COMPLETE" if done else "FAILED" if failed else "PENDING",
        "generated_images": [image] if done else [],
        "modelId": None,
        "motion": film or None,
        "motionModel": job.model if film else None,
        "prompt": getattr(job.commission, "prompt", ""),
        "seed": getattr(job.commission, "seed", None),
        "imageWidth": getattr(job.commission, "width", None),
        "imageHeight": getattr(job.commission, "height", None),
        "createdAt": created.isoformat(timespec="milliseconds"),
        "public": False,
        "prompt_moderations": [{"moderationClassification": ["NSFW"] if code == MODERATED else []}],
        "failedReason": {"type": reason, "message": message} if failed else None,
    }


def _was_deleted(view: View) -> bool:
    return view.outcome is not None and view.outcome.fail_code == DELETED


def _user_id(key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, key))


def _shown(task_id: str) -> str:
    return str(uuid.UUID(hex=task_id))


def _read_id(text: str) -> str:
    return text.replace("-", "").lower()[:64]
