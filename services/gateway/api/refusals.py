"""Refusals that only an edge makes; the rest of the tree is the kernel's."""

from collections.abc import Iterable

from kernel.errors import Error


class MethodNotAllowed(Error):
    """The path is a route, but not by this method; `allow` are those that are."""

    status = 405

    def __init__(self, allow: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allow))
        super().__init__("method_not_allowed", f"This path answers to {self.allow}.")


class BadGateway(Error):
    """A service behind the edge broke; no word of it reaches the client."""

    status = 502

    def __init__(self) -> None:
        super().__init__("bad_gateway", "A service behind this address failed to answer.")


class BrokeOff(Exception):
    """The answer had begun and can't be finished: the server must cut the connection."""
