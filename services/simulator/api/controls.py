"""What no vendor has: scenarios set and cleared, what was asked, what is owed."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from kernel.errors import Error
from services.simulator.adapters.journal import Journal
from services.simulator.adapters.stage import Stage
from services.simulator.adapters.studio import Studio
from services.simulator.api.answers import BodyTooLarge, json_body
from services.simulator.api.desk import key_digest
from services.simulator.domain.jobs import Job
from services.simulator.domain.scenarios import REQUEST_FAULTS, Scenario, checked
from services.simulator.settings import SimulatorSettings

MAX_NEXT_N: Final = 1_000_000
MAX_ITEMS: Final = 1_000


class ScenarioRequest(BaseModel):
    """Fields besides these are the scenario's arguments."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[str, str | float]

    name: str = Field(max_length=40)
    key: str = Field(default="", max_length=500)
    model: str = Field(default="", max_length=200)
    next_n: int | None = Field(default=None, ge=1, le=MAX_NEXT_N)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def scenario(self) -> Scenario:
        """Raises `Invalid` for a name or argument that means nothing."""
        digest = key_digest(self.key) if self.key else ""
        arguments = dict(self.__pydantic_extra__)
        one = checked(
            Scenario(self.name, digest, self.model, self.next_n, self.seed, arguments=arguments)
        )
        if self.next_n is None and one.name in REQUEST_FAULTS and one.strikes == "create":
            return Scenario(one.name, digest, self.model, one.times, self.seed, arguments=arguments)
        return one


@dataclass(frozen=True)
class Controls:
    settings: SimulatorSettings
    studio: Studio
    journal: Journal
    stage: Stage

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/_scenarios", self.add_scenario, methods=["POST"]),
            Route("/_scenarios", self.list_scenarios, methods=["GET"]),
            Route("/_scenarios", self.clear_scenarios, methods=["DELETE"]),
            Route("/_journal", self.show_journal, methods=["GET"]),
            Route("/_bill", self.show_bill, methods=["GET"]),
            Route("/_bill/items", self.show_items, methods=["GET"]),
        ]

    async def add_scenario(self, request: Request) -> Response:
        # A page in someone's browser can post a form to a local port, but not this type.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "unsupported_media_type", "send application/json")
        try:
            body = await json_body(request, self.settings.max_body_bytes)
            scenario = ScenarioRequest.model_validate(body).scenario()
            self.stage.add(scenario)
        except BodyTooLarge:
            return _refused(413, "too_large", "the body is too large")
        except ValidationError as error:
            faults = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
            return _refused(422, "invalid", "; ".join(f"{where}: {what}" for where, what in faults))
        except ValueError:
            return _refused(400, "malformed", "the body is not JSON")
        except Error as error:
            return _refused(error.status, error.code, error.message)
        return JSONResponse(_shown(scenario), 201)

    async def list_scenarios(self, _request: Request) -> Response:
        return JSONResponse({"scenarios": [_shown(one) for one in self.stage.standing]})

    async def clear_scenarios(self, _request: Request) -> Response:
        self.stage.clear()
        return Response(status_code=204)

    async def show_journal(self, _request: Request) -> Response:
        """Newest last; `looks` counts how often a task was asked about since the start."""
        asked = [
            {**entry, "looks": self.studio.looks(entry["task_id"])} for entry in self.journal.asked
        ]
        return JSONResponse({"asked": asked})

    async def show_bill(self, _request: Request) -> Response:
        """Each vendor's bill of each key, in the vendor's own unit."""
        return JSONResponse({"bills": [asdict(bill) for bill in self.journal.bills.values()]})

    async def show_items(self, _request: Request) -> Response:
        """What the bills are made of: the newest MAX_ITEMS jobs still kept, newest last."""
        jobs = list(self.journal.jobs.values())[-MAX_ITEMS:]
        return JSONResponse({"items": [self._item(job) for job in jobs]})

    def _item(self, job: Job) -> dict[str, Any]:
        outcome = self.journal.outcomes.get(job.task_id)
        succeeded = outcome is not None and not outcome.fail_code
        return {
            "task_id": job.task_id,
            "vendor": job.vendor,
            "key": job.key,
            "model": job.model,
            "created_ms": job.created_ms,
            "completed_ms": outcome.completed_ms if outcome else None,
            "fail_code": outcome.fail_code if outcome else "",
            "listed_credits": job.price_credits,
            "charged_credits": job.charge_credits if succeeded else 0,
        }


def _shown(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "key": scenario.key,
        "model": scenario.model,
        "left": scenario.left,
        "seed": scenario.seed,
        "arguments": dict(scenario.arguments),
    }


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
