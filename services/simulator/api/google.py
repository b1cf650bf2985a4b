"""Google's generateContent: one call that answers with the picture itself, or says why not."""

import base64
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from services.simulator.api.desk import Desk, Room
from services.simulator.api.results import Results, media_type
from services.simulator.domain.google import DENIED, FAULTS, PREFIX, read_order
from services.simulator.domain.jobs import MODERATED, Job
from services.simulator.domain.orders import Refused

VENDOR: Final = "google"
OPERATION: Final = "generateContent"
_MALFORMED: Final = Refused(400, "Invalid JSON payload received.", "INVALID_ARGUMENT")
_LATE: Final = Refused(504, "The deadline expired before the operation ended.", "DEADLINE_EXCEEDED")


class Google:
    def __init__(self, room: Room, results: Results) -> None:
        self.desk = Desk(room, VENDOR, FAULTS, say, _MALFORMED, _MALFORMED)
        self.results = results

    def routes(self) -> list[BaseRoute]:
        return [
            self.desk.route(
                f"{PREFIX}/{version}/models/{{model}}:generateContent",
                "POST",
                self.generate_content,
                OPERATION,
            )
            for version in ("v1", "v1beta")
        ]

    async def generate_content(self, request: Request) -> Response:
        key = request.headers.get("x-goog-api-key", "")
        if not key.strip():
            raise DENIED.anew()
        self.desk.key(request, key)
        order = read_order(request.path_params["model"], await self.desk.body(request))
        job = await self.desk.take(request, OPERATION, order)
        return self.desk.sent(job, await self._answer(job))

    async def _answer(self, job: Job) -> Response:
        """Once the picture is made, or will not be."""
        view = await self.desk.ended(job)
        if view is None or view.outcome is None:
            raise _LATE.anew()
        if view.outcome.fail_code == MODERATED:
            return JSONResponse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
        content = None if view.outcome.fail_code else await self.results.content(job)
        if content is None:
            return _candidate("NO_IMAGE", [])
        inline = {"mimeType": media_type(job), "data": base64.b64encode(content).decode()}
        return _candidate("STOP", [{"text": "Here it is."}, {"inlineData": inline}], job.task_id)


def say(refused: Refused) -> Response:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    retry = {"@type": kind, "retryDelay": f"{refused.retry_after_s}s"}
    body = {
        "code": refused.code,
        "message": refused.message,
        "status": refused.word,
        "details": [retry] if refused.retry_after_s else [],
    }
    return JSONResponse({"error": body}, refused.code)


def _candidate(reason: str, parts: list[dict[str, Any]], response_id: str = "") -> Response:
    content = {"role": "model", "parts": parts}
    candidate = {"index": 0, "finishReason": reason, "content": content}
    return JSONResponse({"candidates": [candidate], "responseId": response_id})
