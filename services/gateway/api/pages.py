"""The gateway's own routes: life, readiness, the OpenAPI and AsyncAPI documents, the routes."""

import asyncio
import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import structlog
from starlette.types import ASGIApp

from kernel.errors import Error, NotFound, Unavailable
from services.gateway.adapters.request_headers import Header
from services.gateway.adapters.upstream import call
from services.gateway.api.dead_letters import described
from services.gateway.api.errors import JSON
from services.gateway.api.openapi import merge
from services.gateway.api.page import Page
from services.gateway.api.refusals import BadGateway
from services.gateway.api.routes import GATEWAY, Route
from services.gateway.api.translating import described as described_translations

DOCUMENT_BYTES_MAX: Final = 8_388_608
DOCUMENT_TIMEOUT_S: Final = 10.0
OPENAPI_PATH: Final = "/openapi.json"
EVENTS_FILE: Final = "schemas/asyncapi.json"
"""Of the contracts, as it was committed and reviewed."""
_OK: Final = 200
_HTML: Final = b"text/html; charset=utf-8"
_NOTHING_FROM_ELSEWHERE: Final[Header] = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
)
_KEPT_A_WHILE: Final[Header] = (b"cache-control", b"public, max-age=300")
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SmartSpec API</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2430; background: #fbfbf9; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #d9dcd6;
  vertical-align: top; }}
code {{ font: 14px ui-monospace, monospace; overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #e3e6ea; background: #14181d; }} th, td {{ border-color: #333b45; }}
  a {{ color: #8fb8ff; }}
}}
</style>
</head>
<body>
<h1>SmartSpec API</h1>
<p>Every route of this address. The whole contract: <a href="/openapi.json">/openapi.json</a>.</p>
<table>
<thead><tr><th>Method</th><th>Path</th><th>What</th><th>Credential</th><th>Scope</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""

_log = structlog.get_logger(__name__)


class Pages:
    """Made once, kept, and served from memory; the OpenAPI document at its first reading."""

    def __init__(
        self,
        routes: Sequence[Route],
        upstreams: Mapping[str, ASGIApp],
        ready: Callable[[], bool],
        server_url: str,
        jwks: Mapping[str, Any],
    ) -> None:
        self._routes = routes
        self._upstreams = upstreams
        self._ready = ready
        self._server_url = server_url
        self._docs = Page(_OK, _HTML, _listed(routes), (_NOTHING_FROM_ELSEWHERE,))
        self._events = Page(_OK, JSON, files("contracts").joinpath(EVENTS_FILE).read_bytes())
        self._jwks = Page(_OK, JSON, json.dumps(jwks).encode(), (_KEPT_A_WHILE,))
        self._document: Page | None = None
        self._reading = asyncio.Lock()

    async def answer(self, path: str) -> Page:
        """Raises `Unavailable` from `/readyz` or for a service that is away, `BadGateway` when one
        has no document."""
        match path:
            case "/livez":
                return _status("alive")
            case "/readyz":
                if not self._ready():
                    raise Unavailable("not_ready", "Starting or ending.", retry_after_s=1)
                return _status("ready")
            case "/docs":
                return self._docs
            case "/asyncapi.json":
                return self._events
            case "/.well-known/jwks.json":
                return self._jwks
            case "/openapi.json":
                return await self._merged()
        raise NotFound("not_found", "There is nothing at this address.")

    async def _merged(self) -> Page:
        async with self._reading:
            if self._document is None:
                named = sorted({route.service for route in self._routes} - {GATEWAY})
                documents = {name: await self._read(name) for name in named}
                documents[GATEWAY] = _both(described(), described_translations(self._routes))
                merged = merge(self._routes, documents, self._server_url)
                self._document = Page(_OK, JSON, json.dumps(merged).encode())
            return self._document

    async def _read(self, service: str) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(DOCUMENT_TIMEOUT_S):
                answer = await call(
                    self._upstreams[service],
                    "GET",
                    OPENAPI_PATH,
                    answer_bytes_max=DOCUMENT_BYTES_MAX,
                )
            document = json.loads(answer.body) if answer.status == _OK else None
        except Error:
            raise
        except Exception as error:
            _log.exception("openapi_unreadable", service=service)
            raise BadGateway from error
        if not isinstance(document, dict):
            _log.error("openapi_missing", service=service, status=answer.status)
            raise BadGateway
        return document


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """Two documents of this service as one; they share no path and no schema."""
    schemas = one["components"]["schemas"] | other["components"]["schemas"]
    return {"paths": one["paths"] | other["paths"], "components": {"schemas": schemas}}


def _status(word: str) -> Page:
    body = json.dumps({"status": word}).encode()
    return Page(_OK, JSON, body, ((b"cache-control", b"no-store"),))


def _scopes(route: Route) -> str:
    return " or ".join(scope for scope in (route.scope, route.or_scope) if scope is not None)


def _listed(routes: Sequence[Route]) -> bytes:
    rows = "\n".join(
        "<tr>"
        f"<td><code>{route.method}</code></td><td><code>{html.escape(route.path)}</code></td>"
        f"<td>{html.escape(route.summary)}</td><td>{html.escape(route.auth.value)}</td>"
        f"<td>{html.escape(_scopes(route))}</td>"
        "</tr>"
        for route in routes
    )
    return _PAGE.format(rows=rows).encode()
