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


def words_of(fault: Fault) -> str:
    """The message, with the fields that it is about: for forms that have no details."""
    fields = fault.details.get("fields")
    if isinstance(fields, list) and fields and all(isinstance(item, dict) for item in fields):
        return "; ".join(f"{item.get('field')}: {item.get('message')}" for item in fields)
    field = fault.details.get("field")
    if isinstance(field, str) and field not in fault.message:
        return f"{field}: {fault.message}"
    return fault.message


@dataclass(frozen=True, slots=True)
class Surface:
    """`render` makes the JSON body of an error; `error_schema` is its JSON Schema, named `name`."""

    name: str
    render: Callable[[Fault], Mapping[str, object]]
    error_schema: Mapping[str, object]
