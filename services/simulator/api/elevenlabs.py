"""ElevenLabs' HTTP protocol: the answer is the audio itself. No job, no callback, no cancel."""

from collections import Counter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from services.simulator.api.desk import Desk, Room
from services.simulator.api.results import Results
from services.simulator.domain.elevenlabs import (
    ENDS,
    FAULTS,
    MODELS,
    PREFIX,
    TOO_MANY_AT_ONCE,
    VOICES,
    model,
    read_order,
    voice,
)
from services.simulator.domain.orders import Refused

VENDOR: Final = "elevenlabs"
OPERATION: Final = "text-to-speech"


class ElevenLabs:
    def __init__(self, room: Room, results: Results) -> None:
        malformed = Refused(422, "JSON decode error", "json_invalid", "body")
        too_large = Refused(413, "The request is too large", "request_too_large")
        self.desk = Desk(room, VENDOR, FAULTS, say, malformed, too_large)
        self.room = room
        self.results = results
        self.at_once: Counter[str] = Counter()

    def routes(self) -> list[BaseRoute]:
        speech = f"{PREFIX}/v1/text-to-speech/{{voice_id}}"
        return [
            self.desk.route(speech, "POST", self.speak, OPERATION),
            self.desk.route(f"{PREFIX}/v2/voices", "GET", self.voices),
            self.desk.route(f"{PREFIX}/v1/models", "GET", self.models),
            self.desk.route(f"{PREFIX}/v1/user/subscription", "GET", self.subscription),
        ]

    async def speak(self, request: Request) -> Response:
        key = self._key(request)
        if self.at_once[key] >= self.room.settings.elevenlabs_concurrent_max:
            raise TOO_MANY_AT_ONCE.anew()
        self.at_once[key] += 1
        try:
            return await self._speech(request)
        finally:
            self.at_once[key] -= 1
            if not self.at_once[key]:
                del self.at_once[key]

    async def _speech(self, request: Request) -> Response:
        output_format = request.query_params.get("output_format", "")
        body = await self.desk.body(request)
        order = read_order(request.path_params["voice_id"], output_format, body)
        job = await self.desk.take(request, OPERATION, order)
        view = await self.desk.ended(job)
        if view is None or view.outcome is None:
            return self.desk.sent(job, say(ENDS["late"]))
        if code := view.outcome.fail_code:
            return self.desk.sent(job, say(ENDS.get(code, ENDS["failed"])))
        headers = {"request-id": job.task_id, "character-cost": str(job.charge_credits)}
        return self.desk.sent(job, await self.results.response(job, headers))

    async def voices(self, request: Request) -> Response:
        self._key(request)
        voices = [voice(one) for one in VOICES]
        more = {"has_more": False, "total_count": len(voices), "next_page_token": None}
        return JSONResponse({"voices": voices, **more})

    async def models(self, request: Request) -> Response:
        self._key(request)
        return JSONResponse([model(one) for one in MODELS])

    async def subscription(self, request: Request) -> Response:
        limit = self.room.settings.granted_credits
        used = limit - self.desk.left(self._key(request))
        return JSONResponse(
            {
                "tier": "creator",
                "status": "active",
                "character_count": used,
                "character_limit": limit,
                "can_extend_character_limit": False,
            }
        )

    def _key(self, request: Request) -> str:
        return self.desk.key(request, request.headers.get("xi-api-key", ""))


def say(refused: Refused) -> Response:
    """422 is a list of faults; every other refusal is one status and message."""
    detail: Any = {"status": refused.word, "message": refused.message}
    if refused.field:
        where = ["body"] if refused.field == "body" else ["body", refused.field]
        detail = [{"loc": where, "msg": refused.message, "type": refused.word}]
    headers = {"retry-after": str(refused.retry_after_s)} if refused.retry_after_s else {}
    return JSONResponse({"detail": detail}, refused.code, headers)
