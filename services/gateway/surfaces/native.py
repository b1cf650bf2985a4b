"""The native form of an error: `{"error", "message", "details"}`."""

from collections.abc import Mapping
from typing import Final

from services.gateway.surfaces.fault import Fault, Surface


def render(fault: Fault) -> Mapping[str, object]:
    return {"error": fault.code, "message": fault.message, "details": fault.details}


NATIVE: Final = Surface(
    name="Error",
    render=render,
    error_schema={
        "type": "object",
        "required": ["error", "message", "details"],
        "properties": {
            "error": {"type": "string"},
            "message": {"type": "string"},
            "details": {"type": "object"},
        },
    },
)
