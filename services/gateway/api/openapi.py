"""Merges the services' OpenAPI documents into one of what the edge routes; knows no network.

A route that its service does not describe is described from the table, so that none is missing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from services.gateway.api.routes import GATEWAY, Auth, Route
from services.gateway.surfaces import SURFACES, surface_of

Document = Mapping[str, Any]

VERSION: Final = "3.1.0"
_SCHEMAS: Final = "#/components/schemas/"
_PARAMETER: Final = re.compile(r"\{([^}:]*)[^}]*\}")
_FRAMEWORK_ERROR: Final = f"{_SCHEMAS}HTTPValidationError"
_SECURITY_SCHEMES: Final = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or an access token"},
}


def merge(routes: Iterable[Route], documents: Mapping[str, Document], server_url: str) -> Document:
    """One document: the operations of `routes`, with the schemas that they reach.

    Services may name their schemas alike: the later one gets its service's name in front.
    """
    schemas: dict[str, Any] = {surface.name: surface.error_schema for surface in SURFACES}
    services = {name: _Service(name, document, schemas) for name, document in documents.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        service = services.get(GATEWAY if route.translation else route.service)
        found = service.operation(route) if service is not None else None
        path, operation = found or (_PARAMETER.sub(r"{\1}", route.path), described_route(route))
        paths.setdefault(path, {})[route.method.lower()] = _guarded(route, operation)
    return {
        "openapi": VERSION,
        "info": {"title": "SmartSpec", "version": "1"},
        "servers": [{"url": server_url}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY_SCHEMES},
    }


class _Service:
    """One service's document; what is taken from it adds its schemas to the common ones."""

    def __init__(self, name: str, document: Document, schemas: dict[str, Any]) -> None:
        self._name = name
        self._schemas = schemas
        self._own: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
        self._new_names: dict[str, str] = {}
        self._paths = {_shape(path): path for path in document.get("paths", {})}
        self._items: Mapping[str, Any] = document.get("paths", {})

    def operation(self, route: Route) -> tuple[str, dict[str, Any]] | None:
        """The service's own path and operation for `route`, if it describes it."""
        path = self._paths.get(_shape(route.path))
        operation = self._items[path].get(route.method.lower()) if path is not None else None
        if path is None or operation is None:
            return None
        responses = {
            status: response
            for status, response in operation.get("responses", {}).items()
            if _FRAMEWORK_ERROR not in _references(response)
        }
        taken: dict[str, Any] = self._taken({**operation, "responses": responses})
        return path, taken

    def _taken(self, node: Any) -> Any:
        """`node` with its references renamed, and their schemas taken over too."""
        return _mapped(node, self._renamed)

    def _renamed(self, reference: str) -> str:
        name = reference.removeprefix(_SCHEMAS)
        if name not in self._new_names:
            new_name = name
            while new_name in self._schemas:
                new_name = f"{self._name.capitalize()}{new_name}"
            self._new_names[name] = new_name
            self._schemas[new_name] = {}  # holds the name while a schema that names itself is read
            self._schemas[new_name] = self._taken(self._own.get(name, {}))
        return _SCHEMAS + self._new_names[name]


def _shape(path: str) -> str:
    return _PARAMETER.sub("{}", path)


def _mapped(node: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(node, Mapping):
        return {key: _mapped(value, rename) for key, value in node.items()}
    if isinstance(node, list):
        return [_mapped(item, rename) for item in node]
    if isinstance(node, str) and node.startswith(_SCHEMAS):
        return rename(node)
    return node


def _references(node: Any) -> set[str]:
    found: set[str] = set()

    def note(reference: str) -> str:
        found.add(reference)
        return reference

    _mapped(node, note)
    return found


def described_route(route: Route) -> dict[str, Any]:
    """What the table alone says of a route."""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    return {
        "summary": route.summary,
        "tags": [route.service],
        **({"parameters": parameters} if parameters else {}),
        "responses": {"200": {"description": "Done"}},
    }


def _guarded(route: Route, operation: Mapping[str, Any]) -> dict[str, Any]:
    """The operation with the edge's own facts: credentials, scope, the form of errors."""
    scopes = [[scope] for scope in (route.scope, route.or_scope) if scope is not None] or [[]]
    schemes = {Auth.NONE: (), Auth.JWT: ("bearer",)}
    error = {"schema": {"$ref": f"{_SCHEMAS}{surface_of(route.path).name}"}}
    failed = {"description": "An error", "content": {"application/json": error}}
    return {
        **operation,
        "security": [
            {scheme: needed}
            for needed in scopes
            for scheme in schemes.get(route.auth, ("apiKey", "bearer"))
        ],
        "responses": {**operation.get("responses", {}), "default": failed},
    }
