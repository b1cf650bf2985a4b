"""HeyGen's HTTP protocol, v3 and the older v2; neither has a cancel.

Idempotency keys are remembered as long as the process lasts, and for 24 hours at most.
"""

import hashlib
import json
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from services.simulator.adapters.outside import Unreadable
from services.simulator.adapters.uploads import PATH
from services.simulator.api.desk import Desk, Remembered, Room, origin
from services.simulator.api.forms import form_file
from services.simulator.api.heygen_catalogue import Catalogue
from services.simulator.api.heygen_webhooks import Webhooks
from services.simulator.api.heygen_words import VENDOR, data_v2, key_of, say_v2, say_v3
from services.simulator.api.results import MEDIA_TYPES, link
from services.simulator.domain.heygen import (
    FAULTS,
    PREFIX,
    REUSED_KEY,
    end_of,
    read_v2,
    read_v3,
)
from services.simulator.domain.jobs import Job
from services.simulator.domain.orders import Order, Refused, spoken_s

IDEMPOTENT_MS: Final = 24 * 3600 * 1000
MAX_REMEMBERED: Final = 1_000
STATUSES: Final = {
    "waiting": "pending",
    "queuing": "pending",
    "generating": "processing",
    "success": "completed",
    "fail": "failed",
}


class HeyGen:
    def __init__(self, room: Room) -> None:
        malformed = Refused(400, "The body is not valid.", "validation_error")
        too_large = Refused(413, "The body is too large.", "validation_error")
        self.room = room
        self.v3 = Desk(room, VENDOR, FAULTS, say_v3, malformed, too_large)
        self.v2 = Desk(room, VENDOR, FAULTS, say_v2, malformed, too_large)
        self.remembered = Remembered(MAX_REMEMBERED, IDEMPOTENT_MS)
        self.webhooks = Webhooks(room, self.v3)
        self.catalogue = Catalogue(self.v3, self.v2)

    def routes(self) -> list[BaseRoute]:
        v3, v2 = self.v3, self.v2
        return [
            v3.route(f"{PREFIX}/v3/videos", "POST", self.create_v3, "videos"),
            v3.route(f"{PREFIX}/v3/videos/{{video_id}}", "GET", self.show_v3),
            v3.route(f"{PREFIX}/v3/assets", "POST", self.asset),
            v2.route(f"{PREFIX}/v2/video/generate", "POST", self.create_v2, "video/generate"),
            v2.route(f"{PREFIX}/v1/video_status.get", "GET", self.show_v2),
            v2.route(f"{PREFIX}/v2/user/remaining_quota", "GET", self.quota_v2),
            *self.webhooks.routes(),
            *self.catalogue.routes(),
        ]

    async def create_v3(self, request: Request) -> Response:
        """With an `Idempotency-Key` the first answer is given again for 24 hours."""
        key = key_of(self.v3, request)
        body = await self.v3.body(request)
        name = request.headers.get("idempotency-key", "")[:256]
        whose = f"{key}:{name}"
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        now_ms = self.room.studio.now_ms()
        known = self.remembered.find(whose, now_ms) if name else None
        if known is not None:
            if known[0] != digest:
                raise REUSED_KEY.anew()
            if known[1] is None:
                raise FAULTS["request_in_progress"].anew()
            return JSONResponse(known[1])
        if name:
            self.remembered.keep(whose, now_ms, digest, None)
        try:
            job = await self._take(self.v3, request, "videos", read_v3(body))
        except BaseException:
            self.remembered.entries.pop(whose, None)
            raise
        data = {"video_id": job.task_id, "status": "waiting", "output_format": "mp4"}
        if name:
            self.remembered.keep(whose, now_ms, digest, {"data": data})
        return self.v3.sent(job, JSONResponse({"data": data}))

    async def show_v3(self, request: Request) -> Response:
        key_of(self.v3, request)
        found = self.v3.look(request, request.path_params["video_id"])
        if found is None:
            raise Refused(404, "Video not found.", "not_found", "video_id")
        job, view = found
        done, captioned = view.state == "success", json.loads(job.param).get("caption")
        url = link(job, origin(request)) if done else None
        code, message = end_of(view.outcome.fail_code if view.outcome else "")
        return JSONResponse(
            {
                "data": {
                    "id": job.task_id,
                    "title": json.loads(job.param).get("title", ""),
                    "status": STATUSES[view.state],
                    "created_at": job.created_ms // 1000,
                    "completed_at": view.outcome.completed_ms // 1000 if view.outcome else None,
                    "video_url": url,
                    "captioned_video_url": url if captioned else None,
                    "thumbnail_url": None,
                    "gif_url": None,
                    "subtitle_url": None,
                    "duration": _duration_s(job) if done else None,
                    "failure_code": code,
                    "failure_message": message,
                }
            }
        )

    async def asset(self, request: Request) -> Response:
        key_of(self.v3, request)
        content, _ = await form_file(request, self.room.uploads.max_bytes)
        try:
            name = self.room.uploads.keep(content)
        except Unreadable:
            raise Refused(400, "The file is no image.", "validation_error", "file") from None
        asset_id, _, kind = name.partition(".")
        data = {
            "asset_id": asset_id,
            "url": f"{origin(request)}{PREFIX}/{PATH}/{name}",
            "mime_type": MEDIA_TYPES[kind],
            "size_bytes": len(content),
        }
        return JSONResponse({"data": data})

    async def create_v2(self, request: Request) -> Response:
        key_of(self.v3, request)
        order = read_v2(await self.v2.body(request))
        job = await self._take(self.v2, request, "video/generate", order)
        return self.v2.sent(job, data_v2({"video_id": job.task_id}))

    async def show_v2(self, request: Request) -> Response:
        key_of(self.v3, request)
        found = self.v2.look(request, request.query_params.get("video_id", ""))
        if found is None:
            raise Refused(404, "Video not found.", "not_found")
        job, view = found
        done = view.state == "success"
        code, message = end_of(view.outcome.fail_code if view.outcome else "")
        error = {"code": code, "message": message, "detail": message} if code else None
        data = {
            "id": job.task_id,
            "status": STATUSES[view.state],
            "video_url": link(job, origin(request)) if done else None,
            "thumbnail_url": None,
            "duration": _duration_s(job) if done else None,
            "created_at": job.created_ms // 1000,
            "error": error,
        }
        return JSONResponse({"code": 100, "message": "Success", "data": data})

    async def quota_v2(self, request: Request) -> Response:
        """In cents here, as prices are."""
        return data_v2({"remaining_quota": self.v2.left(key_of(self.v3, request))})

    async def _take(self, desk: Desk, request: Request, operation: str, order: Order) -> Job:
        webhook, compose = self.webhooks.of(request)
        return await desk.take(request, operation, order, compose, webhook=webhook)


def _duration_s(job: Job) -> float:
    """As billed: the film itself may last a little shorter or longer."""
    script, speed = getattr(job.commission, "script", ""), getattr(job.commission, "speed", 1.0)
    return float(spoken_s(script, speed))
