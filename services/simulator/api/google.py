"""Google's generateContent: one call that answers with the picture itself, or says why not."""

import asyncio
import base64
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from kernel.clock import new_id
from services.simulator.adapters.canned import canned_file
from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Journal
from services.simulator.adapters.stage import Stage
from services.simulator.adapters.studio import Studio
from services.simulator.api.answers import BodyTooLarge, CutConnection, json_body
from services.simulator.api.kie import MAX_PROMPT_CHARS_NOTED, key_digest
from services.simulator.domain.google import PREFIX, Order, Refused, read_order
from services.simulator.domain.jobs import MODERATED, Job
from services.simulator.domain.scenarios import Scenario, latency_ms
from services.simulator.settings import SimulatorSettings

VENDOR: Final = "google"
ANSWER_TIMEOUT_S: Final = 300.0
LOOK_EVERY_S: Final = 0.02
RETRY_DELAY_S: Final = 1
OK: Final = 200

_EXHAUSTED: Final = Refused(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.")
_DENIED: Final = Refused(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
FAULTS: Final = {
    "unauthorized": Refused(400, "INVALID_ARGUMENT", "API key not valid."),
    "no_credits": _EXHAUSTED,
    "rate_limited_then_ok": _EXHAUSTED,
    "server_error": Refused(500, "INTERNAL", "An internal error has occurred."),
}


@dataclass(frozen=True)
class Google:
    settings: SimulatorSettings
    studio: Studio
    journal: Journal
    stage: Stage
    files: ResultFiles

    def routes(self) -> list[BaseRoute]:
        return [
            Route(
                f"{PREFIX}/{version}/models/{{model}}:generateContent",
                self.generate_content,
                methods=["POST"],
            )
            for version in ("v1", "v1beta")
        ]

    async def generate_content(self, request: Request) -> Response:
        key = request.headers.get("x-goog-api-key", "").strip()
        digest = key_digest(key) if key else ""
        try:
            if not key:
                raise _DENIED
            body = await json_body(request, self.settings.max_body_bytes)
            order = read_order(request.path_params["model"], body)
        except Refused as refused:
            self._note(digest, None, refused.http_status)
            return _error(refused)
        except (BodyTooLarge, ValueError):
            return _error(Refused(400, "INVALID_ARGUMENT", "Invalid JSON payload received."))
        return await self._ordered(digest, order)

    async def _ordered(self, key: str, order: Order) -> Response:
        fault, scenarios = self.stage.play(key, order.model, order.prompt)
        if fault is not None:
            self._note(key, order, _status_of(fault), fault=fault.name)
            return _faulty(fault)
        if self.studio.full:
            self._note(key, order, _EXHAUSTED.http_status)
            return _error(_EXHAUSTED)
        job = self._job(key, order, scenarios)
        self._note(key, order, OK, task_id=job.task_id)
        self.studio.accept(job)
        if job.has("answer_lost"):
            return CutConnection()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await self._answer(job)

    async def _answer(self, job: Job) -> Response:
        """Once the picture is made, or will not be."""
        while (found := self.studio.look(job.task_id)) is None or (  # noqa: ASYNC110
            found[1].state not in {"success", "fail"}
        ):
            await asyncio.sleep(LOOK_EVERY_S)  # the studio tells nobody of it
        outcome = found[1].outcome
        if outcome is not None and (outcome.fail_code, outcome.fail_msg) == MODERATED:
            return JSONResponse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
        if outcome is not None and outcome.fail_code:
            return _candidate("NO_IMAGE", [])
        content = await asyncio.to_thread(self._picture, job)
        kind = "image/jpeg" if job.filename.endswith(".jpg") else "image/png"
        inline = {"mimeType": kind, "data": base64.b64encode(content).decode()}
        return _candidate("STOP", [{"text": "Here it is."}, {"inlineData": inline}], job.task_id)

    def _picture(self, job: Job) -> bytes:
        if job.canned:
            return canned_file(job.commission)
        return self.files.path(job.filename).read_bytes()

    def _job(self, key: str, order: Order, scenarios: tuple[Scenario, ...]) -> Job:
        return Job(
            task_id=new_id().hex,
            vendor=VENDOR,
            key=key,
            model=order.model,
            param="",
            commission=order.picture,
            price_credits=order.price_cents,
            created_ms=self.studio.now_ms(),
            latency_ms=latency_ms(scenarios, self.settings.latency_s),
            scenarios=scenarios,
        )

    def _note(
        self, key: str, order: Order | None, code: int, *, task_id: str = "", fault: str = ""
    ) -> None:
        self.journal.ask(
            {
                "at_ms": self.studio.now_ms(),
                "vendor": VENDOR,
                "operation": "generateContent",
                "key": key,
                "model": order.model if order else "",
                "prompt": order.prompt[:MAX_PROMPT_CHARS_NOTED] if order else "",
                "code": code,
                "task_id": task_id,
                "fault": fault,
            }
        )


def _status_of(fault: Scenario) -> int:
    """The HTTP status of the answer; 0 where there is none."""
    return FAULTS[fault.name].http_status if fault.name in FAULTS else 0


def _faulty(fault: Scenario) -> Response:
    match fault.name:
        case "connection_reset":
            return CutConnection()
        case "malformed_json":
            return Response('{"candidates": [{"conte', media_type="application/json")
        case "rate_limited_then_ok":
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            return _error(_EXHAUSTED, {"@type": kind, "retryDelay": f"{RETRY_DELAY_S}s"})
        case name:
            return _error(FAULTS[name])


def _error(refused: Refused, *details: dict[str, Any]) -> Response:
    body = {
        "code": refused.http_status,
        "message": refused.message,
        "status": refused.status,
        "details": list(details),
    }
    return JSONResponse({"error": body}, refused.http_status)


def _candidate(reason: str, parts: list[dict[str, Any]], response_id: str = "") -> Response:
    content = {"role": "model", "parts": parts}
    candidate = {"index": 0, "finishReason": reason, "content": content}
    return JSONResponse({"candidates": [candidate], "responseId": response_id})
