"""A model's options: their JSON Schema (draft 2020-12), and a refusal that names what is wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import jsonschema_rs

from kernel.errors import Invalid

NUMBERS: Final = {"minimum": "at least", "maximum": "at most"}
LENGTHS: Final = {"minLength": "at least", "maxLength": "at most"}


@dataclass(frozen=True)
class OptionSchema:
    """`properties` are the JSON Schemas of the options by name. Raises ValueError for what is no
    JSON Schema."""

    properties: Mapping[str, Mapping[str, Any]]
    required: Sequence[str] = ()

    def __post_init__(self) -> None:
        _ = self._validator

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
            "additionalProperties": False,
        }

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft202012Validator:
        return jsonschema_rs.Draft202012Validator(dict(self.schema))

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that say something, whole numbers as such. Raises `Invalid` for the first
        that is unknown, missing, or outside its schema."""
        said = {name: value for name, value in options.items() if value is not None}
        for name in said:
            if name not in self.properties:
                known = ", ".join(self.properties)
                raise refused(name, f"is not an option of this model; it has {known}.")
        for error in self._validator.iter_errors(said):
            path = error.instance_path
            name = str(path[0]) if path else self._missing(said)
            raise refused(name, f"{_allowed(self.properties[name])}.")
        return {name: _whole(value, self.properties[name]) for name, value in said.items()}

    def default(self, name: str) -> Any:
        return self.properties.get(name, {}).get("default")

    def _missing(self, said: Mapping[str, Any]) -> str:
        return next(name for name in self.required if name not in said)


def refused(name: str, message: str) -> Invalid:
    """A refusal of one option; `message` goes on after its name."""
    field = f"options.{name}"
    return Invalid("invalid_option", f"{field}: {message}", {"field": field})


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a schema takes, in words."""
    if "enum" in schema:
        return f"one of {', '.join(str(value) for value in schema['enum'])}"
    if "items" in schema:
        return f"a list of {_allowed(schema['items'])}"
    words = [
        f"{text} {schema[name]}{unit}"
        for names, unit in ((NUMBERS, ""), (LENGTHS, " characters"))
        for name, text in names.items()
        if name in schema
    ]
    form = schema.get("description") if "pattern" in schema else None
    said = [f"a value of type {schema['type']}"] if "type" in schema else []
    return ", ".join([*said, *words, *([form] if form else [])]) or json.dumps(dict(schema))


def _whole(value: Any, schema: Mapping[str, Any]) -> Any:
    """JSON Schema counts 2.0 among the integers."""
    return int(value) if schema.get("type") == "integer" else value
