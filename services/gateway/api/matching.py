"""Finds the route of a request: a dictionary for fixed paths, a tree of segments for templates."""

from collections.abc import Iterable, Mapping

from kernel.errors import NotFound
from services.gateway.api.refusals import MethodNotAllowed
from services.gateway.api.routes import Route

_ByMethod = dict[str, Route]


class _Node:
    __slots__ = ("fixed", "one", "rest", "routes")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.one: _Node | None = None
        self.rest: _ByMethod = {}
        self.routes: _ByMethod = {}


class RouteTable:
    """Fixed words win over `{name}`, and that over `{name:path}`, whatever the method."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError for two routes of one method and path."""
        self._fixed: dict[str, _ByMethod] = {}
        self._root = _Node()
        for route in routes:
            methods = self._place(route.path)
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} stands in the table twice")
            methods[route.method] = route

    def find(self, method: str, path: str) -> Route:
        """The route of a normal path. Raises `NotFound` or `MethodNotAllowed`."""
        methods: Mapping[str, Route] | None = self._fixed.get(path)
        if methods is None:
            methods = _walk(self._root, path.split("/"), 1)
        if not methods:
            raise NotFound("not_found", "There is nothing at this address.")
        route = methods.get(method)
        if route is None:
            raise MethodNotAllowed(methods)
        return route

    def _place(self, template: str) -> _ByMethod:
        if "{" not in template:
            return self._fixed.setdefault(template, {})
        node = self._root
        for segment in template.split("/")[1:]:
            if segment.endswith(":path}"):
                return node.rest
            if segment.startswith("{"):
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.fixed.setdefault(segment, _Node())
        return node.routes


def _walk(node: _Node, segments: list[str], at: int) -> Mapping[str, Route] | None:
    if at == len(segments):
        return node.routes or None
    fixed = node.fixed.get(segments[at])
    found = _walk(fixed, segments, at + 1) if fixed is not None else None
    if found is None and node.one is not None:
        found = _walk(node.one, segments, at + 1)
    return found or node.rest or None
