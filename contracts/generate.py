"""python -m contracts.generate: writes schemas/ from the code; `--check` says what differs.

Examples are written once, when an event or a version is new, and never again: they are what the
code must be able to read for ever.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts import asyncapi
from contracts.envelope import Envelope, PublicEvent
from contracts.events import EVENTS

HERE = Path(__file__).parent
SCHEMAS, EXAMPLES = HERE / "schemas", HERE / "examples"


def schema_of(event: type[PublicEvent]) -> dict[str, Any]:
    """JSON Schema of the event's data, and what the bus does with it under `x-smartspec`."""
    schema = event.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "x-smartspec": {
            "owner": event.owner,
            "routing_key": event.routing_key(),
            "schema_version": event.schema_version,
            "consumers": list(event.consumers),
            "listeners": list(event.listeners),
            "stored": event.stored,
        },
    }


def example_path(event: type[PublicEvent]) -> Path:
    return EXAMPLES / f"{event.type_name()}.v{event.schema_version}.json"


def examples() -> Mapping[str, Envelope]:
    """The frozen example of each event that has one already, in its present version."""
    found = {name: example_path(event) for name, event in EVENTS.items()}
    return {
        name: Envelope.model_validate_json(path.read_text())
        for name, path in found.items()
        if path.exists()
    }


def files() -> Mapping[Path, str]:
    """Every generated file and what it should hold."""
    values = {
        **{f"{name}.json": schema_of(event) for name, event in EVENTS.items()},
        "Envelope.json": Envelope.model_json_schema(mode="serialization"),
        "asyncapi.json": asyncapi.document(examples()),
    }
    return {SCHEMAS / name: _text(value) for name, value in values.items()}


def differences() -> list[str]:
    """What is missing, stale or surplus, by file."""
    wanted = files()
    stale = [
        f"{path.relative_to(HERE.parent)} differs from the code"
        for path, text in wanted.items()
        if not path.exists() or path.read_text() != text
    ]
    surplus = [
        f"{path.relative_to(HERE.parent)} belongs to no event"
        for path in sorted(SCHEMAS.glob("*.json"))
        if path not in wanted
    ]
    missing = [
        f"{example_path(event).relative_to(HERE.parent)} is missing: freeze one example"
        for event in EVENTS.values()
        if not example_path(event).exists()
    ]
    return stale + surplus + missing


def main() -> int:
    if "--check" in sys.argv[1:]:
        found = differences()
        for line in found:
            sys.stderr.write(f"{line} (run `make schemas`)\n")
        return 1 if found else 0
    SCHEMAS.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
    return 0


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
