"""The app factory of a service: one shape of errors, request ids, health, strict bodies."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernel.errors import Error, UnsupportedMedia
from kernel.http.identity import InternalTokens
from kernel.http.text import refuse_half_characters
from kernel.sql import DATABASE_LOST
from kernel.telemetry.exposition import PATH as METRICS
from kernel.telemetry.exposition import exposition
from kernel.telemetry.requests import ServedRequest

REQUEST_ID = "x-request-id"
FIELD_ERRORS_MAX = 20
_BODY_METHODS = {"POST", "PUT", "PATCH"}
_NOT_ITS_OWN: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI's own telemetry tells bodies and errors' words; ours is `kernel.telemetry`."""
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

_log = structlog.get_logger(__name__)


def create_app(
    title: str,
    routers: Sequence[APIRouter],
    *,
    internal_tokens: InternalTokens,
    ready: Callable[[], Awaitable[bool]],
    files_put_under: str | None = None,
) -> FastAPI:
    """A service's HTTP side: its routers, `/livez`, `/readyz`, `/metrics` and the kernel's error
    rendering. A PUT below `files_put_under` (`/media/`) may have a body of any type."""
    app = FastAPI(
        title=title,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        telemetry=_NOT_ITS_OWN,
        dependencies=[Depends(refuse_half_characters)],
    )
    app.state.internal_tokens = internal_tokens
    for router in routers:
        app.include_router(router)
    app.include_router(_health(ready))
    app.add_exception_handler(Error, _render_error)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_middleware(OriginMiddleware, service=title, files_put_under=files_put_under)
    return app


def problem(
    status: int, code: str, message: str, details: dict[str, Any] | None = None, **headers: str
) -> JSONResponse:
    """The native error body: `{"error", "message", "details"}`."""
    return JSONResponse(
        {"error": code, "message": message, "details": details or {}},
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


class OriginMiddleware:
    """Gives each request its origin and span, answers with its id, and turns a fault into a plain
    500."""

    def __init__(self, app: ASGIApp, service: str, files_put_under: str | None = None) -> None:
        self._app = app
        self._service = service
        self._files_put_under = files_put_under

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        request = ServedRequest(
            self._service,
            scope["method"],
            headers.get(REQUEST_ID.encode()),
            headers.get(b"traceparent"),
        )

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                request.route = _template(scope)
                message["headers"] = [
                    *message.get("headers", ()),
                    (REQUEST_ID.encode(), request.origin.correlation_id.encode()),
                ]
                _log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=message["status"],
                )
            await send(message)

        with request:
            try:
                if not self._is_file_put(scope):
                    _refuse_other_media(scope["method"], headers)
                await self._app(scope, receive, send_with_id)
            except Error as error:
                await _render(error)(scope, receive, send_with_id)
            except Exception as error:
                _log_fault(error, scope)
                if request.status is not None:
                    raise
                await _fault(error)(scope, receive, send_with_id)

    def _is_file_put(self, scope: Scope) -> bool:
        return (
            self._files_put_under is not None
            and scope["method"] == "PUT"
            and scope["path"].startswith(self._files_put_under)
        )


def _template(scope: Scope) -> str | None:
    """The path of the route that matched; the router notes it in the scope."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path


def _log_fault(error: Exception, scope: Scope) -> None:
    """A trace for what nobody expects; that the database is away is known without one."""
    about = {"method": scope["method"], "path": scope["path"]}
    if _database_is_away(error):
        _log.warning("database_away", error=type(error).__name__, **about)
    else:
        _log.exception("request_failed", **about)


def _database_is_away(error: Exception) -> bool:
    """Asyncpg's InterfaceError may also be a wrong value."""
    return isinstance(error, DATABASE_LOST) and not isinstance(error, ValueError)


def _fault(error: Exception) -> JSONResponse:
    if _database_is_away(error):
        return problem(503, "unavailable", "Not now; ask again.", Retry_After="1")
    return problem(500, "internal_error", "Something went wrong on our side.")


def _refuse_other_media(method: str, headers: dict[bytes, str]) -> None:
    """A body must say that it is JSON or a form; one that says nothing is taken for JSON."""
    kind = headers.get(b"content-type", "").split(";")[0].strip().lower()
    known = {"", "application/json", "multipart/form-data"}
    if method in _BODY_METHODS and kind not in known and headers.get(b"content-length") != "0":
        raise UnsupportedMedia(
            "unsupported_media_type", "Send application/json.", {"content_type": kind[:100]}
        )


def _health(ready: Callable[[], Awaitable[bool]]) -> APIRouter:
    router = APIRouter()

    @router.get("/livez", tags=["ops"])
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", tags=["ops"])
    async def readyz() -> Response:
        if await ready():
            return JSONResponse({"status": "ready"})
        return problem(503, "not_ready", "Starting or ending, or a part is away.", Retry_After="1")

    @router.get(METRICS, include_in_schema=False)
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        """Of the whole process, which may run several services."""
        body, content_type = exposition(accept)
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    return router


def _render(error: Error) -> JSONResponse:
    answer = problem(error.status, error.code, error.message, error.details)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:  # noqa: PLR2004 - RFC 9110, 11.6.1: a 401 names its challenge
        answer.headers["WWW-Authenticate"] = 'Bearer realm="smartspec"'
    return answer


async def _render_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, Error)
    return _render(error)


async def _render_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()[:FIELD_ERRORS_MAX]
    if any(item["type"] == "json_invalid" for item in faults):
        return _not_json()
    fields = [{"field": _field(item["loc"]), "message": item["msg"]} for item in faults]
    first = fields[0] if fields else {"field": "body", "message": "not acceptable"}
    return problem(
        422, "invalid_request", f"{first['field']}: {first['message']}", {"fields": fields}
    )


def _not_json() -> JSONResponse:
    fields = [{"field": "body", "message": "not JSON"}]
    return problem(422, "invalid_request", "body: not JSON", {"fields": fields})


def _field(location: Sequence[Any]) -> str:
    """`options.num_images` of `("body", "options", "num_images")`."""
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] in {"body", "query", "path", "header"}:
        parts = parts[1:]
    return ".".join(parts)


async def _render_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # noqa: PLR2004 - FastAPI's word for bytes that are no text
        return _not_json()
    code = _CODES.get(error.status_code, "invalid_request")
    answer = problem(error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer
