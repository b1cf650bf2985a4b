"""kie.ai's HTTP protocol: HTTP 200 nearly always, the truth in the body's `code`."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from kernel.clock import new_id
from services.simulator.adapters.journal import Journal
from services.simulator.adapters.stage import Stage
from services.simulator.adapters.studio import Studio
from services.simulator.api.answers import BodyTooLarge, CutConnection, json_body
from services.simulator.domain.bill import remaining_credits
from services.simulator.domain.jobs import Job, View
from services.simulator.domain.kie import PREFIX, SUCCESS, Order, Refused, read_order
from services.simulator.domain.scenarios import Scenario, latency_ms, refusal
from services.simulator.settings import SimulatorSettings

VENDOR: Final = "kie"
MAX_PROMPT_CHARS_NOTED: Final = 500

UNAUTHORIZED: Final = Refused(401, "You do not have access permissions")
FAULTS: Final = {
    "unauthorized": UNAUTHORIZED,
    "no_credits": Refused(402, "Credits insufficient. Please top up to continue."),
    "rate_limited_then_ok": Refused(
        429, "Your call frequency is too high. Please try again later."
    ),
}


def answer(code: int, message: str, data: Any = None) -> Response:
    return JSONResponse({"code": code, "msg": message, "data": data})


def key_digest(key: str) -> str:
    """What stands for a key wherever one is remembered or shown."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]


def key_of(request: Request) -> str:
    """The caller's key as a digest. Raises `Refused` 401 if there is none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise UNAUTHORIZED
    return key_digest(key.strip())


@dataclass(frozen=True)
class Kie:
    settings: SimulatorSettings
    studio: Studio
    journal: Journal
    stage: Stage

    def routes(self) -> list[BaseRoute]:
        api = f"{PREFIX}/api/v1"
        return [
            Route(f"{api}/jobs/createTask", self.create_task, methods=["POST"]),
            Route(f"{api}/jobs/recordInfo", self.record_info, methods=["GET"]),
            Route(f"{api}/chat/credit", self.credit, methods=["GET"]),
        ]

    async def create_task(self, request: Request) -> Response:
        try:
            key = key_of(request)
            order = read_order(await json_body(request, self.settings.max_body_bytes))
        except Refused as refused:
            self._note("", None, refused.code)
            return answer(refused.code, refused.message)
        except BodyTooLarge:
            return answer(400, "The request body is too large")
        except ValueError:
            return answer(400, "The request body is not valid JSON")
        return self._ordered(key, order)

    def _ordered(self, key: str, order: Order) -> Response:
        fault, scenarios = self.stage.play(key, order.model, order.prompt)
        if fault is not None:
            self._note(key, order, _code_of(fault), fault=fault.name)
            return _faulty(fault)
        bill = self.journal.bill(key)
        if remaining_credits(bill, self.settings.granted_credits) < order.price_credits:
            return self._refuse(key, order, FAULTS["no_credits"])
        if self.studio.full:
            return self._refuse(key, order, FAULTS["rate_limited_then_ok"])
        job = self._job(key, order, scenarios)
        self._note(key, order, SUCCESS, task_id=job.task_id)
        self.studio.accept(job)
        if job.has("answer_lost"):
            return CutConnection()
        return answer(SUCCESS, "success", {"taskId": job.task_id})

    async def record_info(self, request: Request) -> Response:
        try:
            key = key_of(request)
        except Refused as refused:
            return answer(refused.code, refused.message)
        task_id = request.query_params.get("taskId", "")
        found = self.studio.look(task_id)
        if found is None or found[0].key != key:
            return answer(404, "The task does not exist")
        job, view, nth = found
        fault = refusal(job.scenarios, "look", nth)
        if fault is not None:
            return _faulty(fault)
        return answer(SUCCESS, "success", _record(job, view, _origin(request)))

    async def credit(self, request: Request) -> Response:
        try:
            key = key_of(request)
        except Refused as refused:
            return answer(refused.code, refused.message)
        left = remaining_credits(self.journal.bill(key), self.settings.granted_credits)
        return answer(SUCCESS, "success", left)

    def _job(self, key: str, order: Order, scenarios: tuple[Scenario, ...]) -> Job:
        return Job(
            task_id=new_id().hex,
            vendor=VENDOR,
            key=key,
            model=order.model,
            param=order.param,
            commission=order.picture,
            price_credits=order.price_credits,
            created_ms=self.studio.now_ms(),
            latency_ms=latency_ms(scenarios, self.settings.latency_s),
            scenarios=scenarios,
        )

    def _refuse(self, key: str, order: Order, refused: Refused) -> Response:
        self._note(key, order, refused.code)
        return answer(refused.code, refused.message)

    def _note(
        self, key: str, order: Order | None, code: int, *, task_id: str = "", fault: str = ""
    ) -> None:
        self.journal.ask(
            {
                "at_ms": self.studio.now_ms(),
                "vendor": VENDOR,
                "operation": "createTask",
                "key": key,
                "model": order.model if order else "",
                "prompt": order.prompt[:MAX_PROMPT_CHARS_NOTED] if order else "",
                "code": code,
                "task_id": task_id,
                "fault": fault,
            }
        )


def _code_of(fault: Scenario) -> int:
    """The code in the answer; 0 where the answer has none."""
    if fault.name in FAULTS:
        return FAULTS[fault.name].code
    return 500 if fault.name == "server_error" else 0


def _faulty(fault: Scenario) -> Response:
    match fault.name:
        case "connection_reset":
            return CutConnection()
        case "server_error":
            return Response("Internal Server Error", 500, media_type="text/plain")
        case "malformed_json":
            return Response(
                '{"code":200,"msg":"success","data":{"ta', 200, media_type="application/json"
            )
        case name:
            return answer(FAULTS[name].code, FAULTS[name].message)


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"


def _record(job: Job, view: View, origin: str) -> dict[str, Any]:
    """RecordInfo's `data`: `param` and `resultJson` are JSON inside JSON, as the vendor has it."""
    outcome = view.outcome
    result = ""
    if view.state == "success":
        result = json.dumps({"resultUrls": [f"{origin}{PREFIX}/files/{job.filename}"]})
    return {
        "taskId": job.task_id,
        "model": job.model,
        "state": view.state,
        "param": job.param,
        "resultJson": result,
        "failCode": outcome.fail_code if outcome else "",
        "failMsg": outcome.fail_msg if outcome else "",
        "progress": view.progress,
        "costTime": outcome.cost_ms if outcome else None,
        "completeTime": outcome.completed_ms if outcome else None,
        "createTime": job.created_ms,
        "updateTime": view.updated_ms,
    }
