"""HeyGen's webhooks.

A signature is HMAC-SHA256 of the raw body in hex; the documents differ on its header's name, so
it is sent under both. An endpoint's secret is told once, when it is registered, and lasts as long
as the process; all events go there, and a callback to an order's own `callback_url` is signed with
it too.
"""

import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from kernel.clock import new_id
from services.simulator.api.answers import BodyMalformed
from services.simulator.api.callbacks import Compose
from services.simulator.api.desk import Desk, Room, origin
from services.simulator.api.heygen_words import key_of
from services.simulator.api.results import link
from services.simulator.domain.callbacks import Kind
from services.simulator.domain.heygen import PREFIX, end_of
from services.simulator.domain.jobs import Job, Outcome, View
from services.simulator.domain.orders import Fields, Refused

MAX_ENDPOINTS: Final = 200
EVENTS: Final = {"success": "avatar_video.success", "fail": "avatar_video.fail"}
FORGED_LINK: Final = "https://forged.invalid/result.mp4"


class Webhooks:
    def __init__(self, room: Room, desk: Desk) -> None:
        self.room = room
        self.desk = desk
        self.endpoints: OrderedDict[str, dict[str, str]] = OrderedDict()

    def routes(self) -> list[BaseRoute]:
        return [self.desk.route(f"{PREFIX}/v3/webhooks/endpoints", "POST", self.endpoint)]

    def of(self, request: Request) -> tuple[str, Compose]:
        """(the address that the caller's key has registered, or ""; what tells of a job's end)."""
        endpoint = self.endpoints.get(request.state.key, {})
        return endpoint.get("url", ""), Composer(
            self.room, origin(request), endpoint.get("secret", "")
        )

    async def endpoint(self, request: Request) -> Response:
        """Register where all of a key's events go; the newest counts."""
        key = key_of(self.desk, request)
        body = await self.desk.body(request)
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
            said |= {"msg": end_of(view.outcome.fail_code if view.outcome else "")[1]}
        body = json.dumps({"event_type": event, "event_data": said}).encode()
        headers = {"content-type": "application/json"}
        if secret:
            signature = hmac.digest(secret.encode(), body, "sha256").hex()
            headers |= {"signature": signature, "x-heygen-signature": signature}
        return body, headers
