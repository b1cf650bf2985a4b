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


def renamed(fault: Fault, names: Mapping[str, str]) -> Fault:
    """The same with fields as the surface calls them: by their native names, or by a beginning that
    ends in a dot."""
    if not names:
        return fault
    details, message = dict(fault.details), fault.message
    given = details.get("fields")
    if isinstance(given, list):
        details["fields"] = [
            {**item, "field": _named(str(item.get("field")), names)}
            for item in given
            if isinstance(item, dict)
        ]
    native = details.get("field")
    if isinstance(native, str):
        details["field"] = _named(native, names)
        message = message.replace(native, str(details["field"]))
    return Fault(fault.status, fault.code, message, details)


def _named(field_name: str, names: Mapping[str, str]) -> str:
    for native, ours in names.items():
        if field_name == native:
            return ours
        if native.endswith(".") and field_name.startswith(native):
            return ours + field_name.removeprefix(native)
    return field_name


@dataclass(frozen=True, slots=True)
class Surface:
    """`render` makes the JSON body of an error; `error_schema` is its JSON Schema, named `name`.
    `status_of` is what it is told with, where that is not the status that it has."""

    name: str
    render: Callable[[Fault], Mapping[str, object]]
    error_schema: Mapping[str, object]
    status_of: Callable[[Fault], int] = lambda fault: fault.status
