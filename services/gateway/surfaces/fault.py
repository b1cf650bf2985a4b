"""An error before it has a form, and what a surface must say of its own form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """What a client may be told: `details` has JSON values only."""

    status: int
    code: str
    message: str
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surface:
    """`render` makes the JSON body of an error; `error_schema` is its JSON Schema, named `name`."""

    name: str
    render: Callable[[Fault], Mapping[str, object]]
    error_schema: Mapping[str, object]
