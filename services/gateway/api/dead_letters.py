"""The parked messages of all services as one list, and their replay; an admin's own routes.

Each service keeps its own list and is asked with the admin's own identity, so that it decides
itself. One that does not answer is named, not waited for.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs
from uuid import UUID

import structlog
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from contracts.events import EVENTS
from kernel.context import current_origin
from kernel.errors import Invalid, NotFound, Unavailable
from kernel.http.dead_letters import LIMIT_MAX, PATH, DeadLetterBody, DeadLettersBody
from kernel.http.identity import HEADER
from services.gateway.adapters.upstream import Answer, call
from services.gateway.api.errors import JSON
from services.gateway.api.page import Page
from services.gateway.api.routes import DEAD_LETTERS_PATH

CONSUMERS: Final = sorted({name for event in EVENTS.values() for name in event.consumers})
TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 1_048_576
LIMIT_DEFAULT: Final = 20
_OK: Final = 200
_DUE: Final = 202
_NOT_FOUND: Final = 404
_EXPECTED: Final = {"GET": {_OK}, "POST": {_DUE, _NOT_FOUND}}
_REPLAY: Final = "/replay"
_LIMIT: Final = re.compile(r"[1-9][0-9]?|100", re.ASCII)

_log = structlog.get_logger(__name__)


class DeadLetterList(BaseModel):
    """The oldest first. `unavailable` are services that did not answer: theirs are missing."""

    success: bool = True
    dead_letters: list[DeadLetterBody]
    unavailable: list[str]


class DeadLetterReplay(BaseModel):
    """`consumers` handle it again; of those `unavailable` it is not known."""

    success: bool = True
    message_id: UUID
    consumers: list[str]
    unavailable: list[str]


class _Question(NamedTuple):
    method: str
    path: str
    query: bytes
    token: bytes


class DeadLetters:
    """Of every service that the contracts name as a consumer."""

    def __init__(self, upstreams: Mapping[str, ASGIApp], timeout_s: float = TIMEOUT_S) -> None:
        self._consumers = {name: upstreams[name] for name in CONSUMERS}
        self._timeout_s = timeout_s

    async def answer(self, method: str, path: str, query: bytes, internal_token: bytes) -> Page:
        """Raises `Invalid` for a wrong limit, `NotFound` for what no service has parked, and
        `Unavailable` while that can't be said."""
        if method == "GET":
            return await self._list(_limit_of(query), internal_token)
        asked_for = path.removeprefix(f"{DEAD_LETTERS_PATH}/").removesuffix(_REPLAY)
        return await self._replay(_message_id_of(asked_for), internal_token)

    async def _list(self, limit: int, token: bytes) -> Page:
        answers = await self._ask_all(_Question("GET", PATH, b"limit=%d" % limit, token))
        letters: list[DeadLetterBody] = []
        unavailable: list[str] = []
        for name, answer in answers.items():
            found = _letters_in(answer)
            if found is None:
                unavailable.append(name)
            else:
                letters += found
        letters.sort(key=lambda letter: (letter.parked_at, letter.message_id, letter.consumer))
        return _page(_OK, DeadLetterList(dead_letters=letters[:limit], unavailable=unavailable))

    async def _replay(self, message_id: UUID, token: bytes) -> Page:
        path = f"{PATH}/{message_id}{_REPLAY}"
        answers = await self._ask_all(_Question("POST", path, b"", token))
        consumers = [name for name, answer in answers.items() if answer and answer.status == _DUE]
        unavailable = [name for name, answer in answers.items() if answer is None]
        if consumers:
            replay = DeadLetterReplay(
                message_id=message_id, consumers=consumers, unavailable=unavailable
            )
            return _page(_DUE, replay)
        if unavailable:
            raise Unavailable(
                "dead_letters_unavailable",
                "Not every service can be asked just now.",
                {"unavailable": unavailable},
                retry_after_s=1,
            )
        raise _not_found()

    async def _ask_all(self, question: _Question) -> dict[str, Answer | None]:
        """By consumer; None of one that has no answer in time, or none of those expected."""
        answers = await asyncio.gather(*(self._ask(name, question) for name in self._consumers))
        return dict(zip(self._consumers, answers, strict=True))

    async def _ask(self, consumer: str, question: _Question) -> Answer | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call(
                    self._consumers[consumer],
                    question.method,
                    question.path,
                    query=question.query,
                    headers=[
                        (HEADER.encode("ascii"), question.token),
                        (b"x-request-id", current_origin().correlation_id.encode("ascii")),
                    ],
                    answer_bytes_max=ANSWER_BYTES_MAX,
                )
        except Exception as error:  # noqa: BLE001 - whatever fault of one service, the others answer
            _log.warning("dead_letters_failed", service=consumer, error=type(error).__name__)
            return None
        if answer.status not in _EXPECTED[question.method]:
            _log.warning("dead_letters_refused", service=consumer, status=answer.status)
            return None
        return answer


def described() -> dict[str, Any]:
    """OpenAPI of these routes, as a service would describe them."""
    _, models = models_json_schema(
        [(DeadLetterList, "serialization"), (DeadLetterReplay, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    message_id = {"type": "string", "format": "uuid"}
    return {
        "paths": {
            DEAD_LETTERS_PATH: {
                "get": {
                    "summary": "Parked messages of all services, the oldest first",
                    "tags": ["admin"],
                    "parameters": [_parameter("limit", "query", limit)],
                    "responses": {"200": _answered("What is parked", DeadLetterList)},
                }
            },
            f"{DEAD_LETTERS_PATH}/{{message_id}}{_REPLAY}": {
                "post": {
                    "summary": "Handle a parked message again, wherever it is parked",
                    "tags": ["admin"],
                    "parameters": [_parameter("message_id", "path", message_id)],
                    "responses": {"202": _answered("It is due now", DeadLetterReplay)},
                }
            },
        },
        "components": {"schemas": models["$defs"]},
    }


def _parameter(name: str, place: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _answered(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _letters_in(answer: Answer | None) -> Sequence[DeadLetterBody] | None:
    if answer is None:
        return None
    try:
        return DeadLettersBody.model_validate_json(answer.body).dead_letters
    except ValidationError as error:
        _log.warning("dead_letters_unreadable", faults=error.error_count())
        return None


def _page(status: int, body: BaseModel) -> Page:
    return Page(status, JSON, body.model_dump_json().encode(), ((b"cache-control", b"no-store"),))


def _limit_of(query: bytes) -> int:
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("limit")
    if given is None:
        return LIMIT_DEFAULT
    if _LIMIT.fullmatch(given[-1]) is None:
        words = f"a number from 1 to {LIMIT_MAX}"
        fields = [{"field": "limit", "message": words}]
        raise Invalid("invalid_request", f"limit: {words}", {"fields": fields})
    return int(given[-1])


def _message_id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _not_found() from None


def _not_found() -> NotFound:
    return NotFound("dead_letter_not_found", "No such dead letter.")
