"""HeyGen's HTTP protocol, v3 and the older v2; neither has a cancel.

A webhook's signature is HMAC-SHA256 of the raw body in hex; the documents differ on its header's
name, so it is sent under both. An endpoint's secret is told once, when it is registered, and
lasts as long as the process; all events go there, and a callback to an order's own `callback_url`
is signed with it too.
"""

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from kernel.clock import new_id
from services.simulator.adapters.outside import Unreadable
from services.simulator.adapters.uploads import PATH
from services.simulator.api.answers import BodyMalformed
from services.simulator.api.desk import Desk, Remembered, Room, origin
from services.simulator.api.forms import form_file
from services.simulator.api.results import MEDIA_TYPES, link
from services.simulator.domain.callbacks import Kind
from services.simulator.domain.heygen import (
    ENDS,
    FAULTS,
    LOOKS,
    PREFIX,
    REUSED_KEY,
    VOICES,
    page,
    read_v2,
    read_v3,
)
from services.simulator.domain.jobs import Job, Outcome, View
from services.simulator.domain.orders import Fields, Order, Refused, spoken_s

VENDOR: Final = "heygen"
IDEMPOTENT_MS: Final = 24 * 3600 * 1000
MAX_REMEMBERED: Final = 1_000
MAX_ENDPOINTS: Final = 200
STATUSES: Final = {
    "waiting": "pending",
    "queuing": "pending",
    "generating": "processing",
    "success": "completed",
    "fail": "failed",
}
EVENTS: Final = {"success": "avatar_video.success", "fail": "avatar_video.fail"}
FORGED_LINK: Final = "https://forged.invalid/result.mp4"


class HeyGen:
    def __init__(self, room: Room) -> None:
        malformed = Refused(400, "The body is not valid.", "validation_error")
        too_large = Refused(413, "The body is too large.", "validation_error")
        self.room = room
        self.v3 = Desk(room, VENDOR, FAULTS, say_v3, malformed, too_large)
        self.v2 = Desk(room, VENDOR, FAULTS, say_v2, malformed, too_large)
        self.remembered = Remembered(MAX_REMEMBERED, IDEMPOTENT_MS)
        self.endpoints: OrderedDict[str, dict[str, str]] = OrderedDict()

    def routes(self) -> list[BaseRoute]:
        v3, v2 = self.v3, self.v2
        return [
            v3.route(f"{PREFIX}/v3/videos", "POST", self.create_v3, "videos"),
            v3.route(f"{PREFIX}/v3/videos/{{video_id}}", "GET", self.show_v3),
            v3.route(f"{PREFIX}/v3/avatars", "GET", self.avatars),
            v3.route(f"{PREFIX}/v3/avatars/looks", "GET", self.looks),
            v3.route(f"{PREFIX}/v3/voices", "GET", self.voices),
            v3.route(f"{PREFIX}/v3/assets", "POST", self.asset),
            v3.route(f"{PREFIX}/v3/webhooks/endpoints", "POST", self.endpoint),
            v2.route(f"{PREFIX}/v2/video/generate", "POST", self.create_v2, "video/generate"),
            v2.route(f"{PREFIX}/v1/video_status.get", "GET", self.show_v2),
            v2.route(f"{PREFIX}/v2/avatars", "GET", self.avatars_v2),
            v2.route(f"{PREFIX}/v2/voices", "GET", self.voices_v2),
            v2.route(f"{PREFIX}/v2/user/remaining_quota", "GET", self.quota_v2),
        ]

    async def create_v3(self, request: Request) -> Response:
        """With an `Idempotency-Key` the first answer is given again for 24 hours."""
        key = self._key(request)
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
        self._key(request)
        found = self.v3.look(request, request.path_params["video_id"])
        if found is None:
            raise Refused(404, "Video not found.", "not_found", "video_id")
        job, view = found
        done, captioned = view.state == "success", json.loads(job.param).get("caption")
        url = link(job, origin(request)) if done else None
        code, message = _end(view)
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

    async def avatars(self, request: Request) -> Response:
        names = sorted({name for _, name, _ in LOOKS.values()})
        return self._page(request, [_avatar(name) for name in names])

    async def looks(self, request: Request) -> Response:
        """An order's `avatar_id` is a look's `id`; `group_id` keeps one avatar's looks."""
        group = request.query_params.get("group_id", "")
        looks = [_look(one) for one in LOOKS if group in {"", LOOKS[one][1].lower()}]
        return self._page(request, looks)

    async def voices(self, request: Request) -> Response:
        return self._page(request, [_voice(one) for one in VOICES])

    async def asset(self, request: Request) -> Response:
        self._key(request)
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

    async def endpoint(self, request: Request) -> Response:
        """Register where all of a key's events go; the newest counts."""
        key = self._key(request)
        body = await self.v3.body(request)
        if not isinstance(body, dict):
            raise BodyMalformed("not an object")
        fields = Fields(body, lambda name, what: Refused(400, f"{name} {what}", "validation_error"))
        if not (url := fields.url("url")):
            raise Refused(400, "url is required", "validation_error", "url")
        one = {"endpoint_id": new_id().hex, "url": url, "secret": f"whsec_{new_id().hex}"}
        self.endpoints[key] = one
        while len(self.endpoints) > MAX_ENDPOINTS:
            self.endpoints.popitem(last=False)
        return JSONResponse(
            {"data": {**one, "events": body.get("events") or [], "status": "enabled"}}
        )

    async def create_v2(self, request: Request) -> Response:
        self._key(request)
        order = read_v2(await self.v2.body(request))
        job = await self._take(self.v2, request, "video/generate", order)
        return self.v2.sent(job, _data_v2({"video_id": job.task_id}))

    async def show_v2(self, request: Request) -> Response:
        self._key(request)
        found = self.v2.look(request, request.query_params.get("video_id", ""))
        if found is None:
            raise Refused(404, "Video not found.", "not_found")
        job, view = found
        done, (code, message) = view.state == "success", _end(view)
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

    async def avatars_v2(self, request: Request) -> Response:
        self._key(request)
        avatars = [{"avatar_id": one, "avatar_name": LOOKS[one][0]} for one in LOOKS]
        return _data_v2({"avatars": avatars, "talking_photos": []})

    async def voices_v2(self, request: Request) -> Response:
        self._key(request)
        return _data_v2({"voices": [_voice(one) for one in VOICES]})

    async def quota_v2(self, request: Request) -> Response:
        """In cents here, as prices are."""
        return _data_v2({"remaining_quota": self.v2.left(self._key(request))})

    def _key(self, request: Request) -> str:
        return self.v3.key(request, request.headers.get("x-api-key", ""))

    def _page(self, request: Request, items: list[Any]) -> Response:
        self._key(request)
        query = request.query_params
        shown, token = page(items, query.get("limit", ""), query.get("token", ""))
        body = {"data": shown, "has_more": bool(token), "next_token": token or None}
        return JSONResponse(body)

    async def _take(self, desk: Desk, request: Request, operation: str, order: Order) -> Job:
        endpoint = self.endpoints.get(request.state.key, {})
        compose = Composer(self.room, origin(request), endpoint.get("secret", ""))
        webhook = endpoint.get("url", "")
        return await desk.take(request, operation, order, compose, webhook=webhook)


class Composer:
    """What a webhook says of a video, signed if the key has an endpoint."""

    def __init__(self, room: Room, base: str, secret: str) -> None:
        self._room = room
        self._base = base
        self._secret = secret

    def __call__(self, job: Job, kind: Kind) -> tuple[bytes, Mapping[str, str]]:
        """A stale event tells of work still going on, in words the documentation does not know."""
        now_ms = self._room.studio.now_ms()
        view = self._room.studio.peek(job.task_id) or View("waiting", 0, now_ms)
        url, secret = link(job, self._base), self._secret
        if kind == "forged":
            view = View("success", 100, now_ms, Outcome(job.task_id, now_ms, 1))
            url, secret = FORGED_LINK, f"not {secret}" if secret else ""
        event = "avatar_video.processing" if kind == "stale" else EVENTS.get(view.state, "")
        said = {"video_id": job.task_id, "callback_id": json.loads(job.param).get("callback_id")}
        if event == EVENTS["success"]:
            said |= {"url": url}
        elif event == EVENTS["fail"]:
            said |= {"msg": _end(view)[1]}
        body = json.dumps({"event_type": event, "event_data": said}).encode()
        headers = {"content-type": "application/json"}
        if secret:
            signature = hmac.digest(secret.encode(), body, "sha256").hex()
            headers |= {"signature": signature, "x-heygen-signature": signature}
        return body, headers


def say_v3(refused: Refused) -> Response:
    error = {"code": refused.word, "message": refused.message}
    if refused.field:
        error["param"] = refused.field
    return _said({"error": error}, refused)


def say_v2(refused: Refused) -> Response:
    error = {"code": refused.word, "message": refused.message}
    return _said({"data": None, "error": error}, refused)


def _said(body: Any, refused: Refused) -> Response:
    headers = {"retry-after": str(refused.retry_after_s)} if refused.retry_after_s else {}
    return JSONResponse(body, refused.code, headers)


def _data_v2(data: Any) -> Response:
    return JSONResponse({"error": None, "data": data})


def _end(view: View) -> tuple[str | None, str | None]:
    """failure_code and failure_message, or neither."""
    if view.outcome is None or not view.outcome.fail_code:
        return None, None
    return ENDS.get(view.outcome.fail_code, ENDS["failed"])


def _duration_s(job: Job) -> float:
    """As billed: the film itself may last a little shorter or longer."""
    script, speed = getattr(job.commission, "script", ""), getattr(job.commission, "speed", 1.0)
    return float(spoken_s(script, speed))


def _avatar(name: str) -> dict[str, Any]:
    looks = [one for one in LOOKS if LOOKS[one][1] == name]
    return {
        "id": name.lower(),
        "name": name,
        "looks_count": len(looks),
        "preview_image_url": None,
        "default_voice_id": LOOKS[looks[0]][2],
    }


def _look(look_id: str) -> dict[str, Any]:
    name, avatar, voice = LOOKS[look_id]
    return {
        "id": look_id,
        "name": name,
        "group_id": avatar.lower(),
        "avatar_type": "studio_avatar",
        "default_voice_id": voice,
        "supported_api_engines": ["avatar_iii", "avatar_iv", "avatar_v"],
        "preview_image_url": None,
    }


def _voice(voice_id: str) -> dict[str, Any]:
    name, gender, _ = VOICES[voice_id]
    return {
        "voice_id": voice_id,
        "name": name,
        "language": "English",
        "gender": gender,
        "preview_audio_url": None,
    }
