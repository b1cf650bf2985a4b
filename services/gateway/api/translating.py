"""Runs a surface's translation: the body read whole, the native service asked, its refusals kept.

The service is asked with the client's own internal token, request id and idempotency key, so what
it allows, remembers and logs is the same as on its own surface.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Receive

from kernel.errors import Error
from services.gateway.adapters.request_headers import Header
from services.gateway.adapters.upstream import Answer, call
from services.gateway.api.errors import JSON, NO_STORE
from services.gateway.api.openapi import described_route
from services.gateway.api.page import Page
from services.gateway.api.refusals import BadGateway
from services.gateway.api.routes import Route
from services.gateway.surfaces.translation import Asked, Ended, Said, Translation

_ERRORS_FROM: Final = 400
_OF_THE_BODY: Final = frozenset({b"content-length", b"content-type"})
_KEPT: Final = frozenset({b"idempotency-replayed"})

_log = structlog.get_logger(__name__)


class ClientLeft(Exception):
    """Before its body was whole: nobody waits for an answer."""


class Refused(Exception):
    """The native service refused; the client is told so in the form of the surface."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Asking:
    """One client's questions to one service, in its own words."""

    def __init__(self, app: ASGIApp, headers: Sequence[Header], answer_bytes_max: int) -> None:
        self._app = app
        self._answer_bytes_max = answer_bytes_max
        self._headers = [header for header in headers if header[0] not in _OF_THE_BODY]
        self.kept: list[Header] = []

    async def __call__(
        self, method: str, path: str, body: Mapping[str, object] | None = None, query: bytes = b""
    ) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        answer = await call(
            self._app,
            method,
            path,
            query=query,
            headers=[
                *self._headers,
                (b"content-type", JSON),
                (b"content-length", str(len(sent)).encode("ascii")),
            ],
            body=sent,
            answer_bytes_max=self._answer_bytes_max,
        )
        if answer.status >= _ERRORS_FROM:
            raise Refused(answer)
        self.kept += [header for header in answer.headers if header[0].lower() in _KEPT]
        return json.loads(answer.body) if answer.body else None


async def translated(
    translation: Translation, app: ASGIApp, asked: Asked, headers: Sequence[Header]
) -> Page:
    """What the client is told.

    Raises `Refused`, `Ended`, the edge's own refusals, and `BadGateway` when nothing readable
    was said in time.
    """
    asking = Asking(app, headers, translation.answer_bytes_max)
    try:
        async with asyncio.timeout(translation.timeout_s):
            said = await translation.run(asked, asking)
    except (Error, Refused, Ended):
        raise
    except Exception as error:
        _log.exception("translation_failed")
        raise BadGateway from error
    return _page(said, asking.kept)


async def whole_body(receive: Receive) -> bytes:
    """To its end; the exchange bounds it. Raises `ClientLeft`."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _page(said: Said, kept: Iterable[Header]) -> Page:
    body = b"" if said.body is None else said.body.model_dump_json().encode()
    return Page(said.status, JSON, body, (NO_STORE, *kept))


def described(routes: Iterable[Route]) -> Mapping[str, Any]:
    """An OpenAPI document of the routes that are translated."""
    translations = {
        (route.path, route.method.lower()): (route, route.translation)
        for route in routes
        if route.translation is not None
    }
    accepted = [one.accepts for _, one in translations.values() if one.accepts is not None]
    answered = [one.answers for _, one in translations.values() if one.answers is not None]
    _, schemas = models_json_schema(
        [
            *((model, "validation") for model in dict.fromkeys(accepted)),
            *((model, "serialization") for model in dict.fromkeys(answered)),
        ],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for (path, method), (route, translation) in translations.items():
        paths.setdefault(path, {})[method] = _operation(route, translation)
    return {"paths": paths, "components": {"schemas": schemas.get("$defs", {})}}


def _operation(route: Route, translation: Translation) -> Mapping[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(translation.status).phrase}
    if translation.answers is not None:
        answer["content"] = _content(translation.answers.__name__)
    operation = described_route(route) | {"responses": {str(translation.status): answer}}
    if translation.query:
        asked = [
            {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
            for name in translation.query
        ]
        operation["parameters"] = [*operation.get("parameters", ()), *asked]
    if translation.accepts is not None:
        operation["requestBody"] = {"content": _content(translation.accepts.__name__)}
    return operation


def _content(name: str) -> Mapping[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
