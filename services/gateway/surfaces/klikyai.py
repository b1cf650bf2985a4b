"""KLIKYAI's form of an error: `{"success": false, "error": {"code", "message", "type"}}`."""

from collections.abc import Mapping
from typing import Final

from services.gateway.surfaces.fault import Fault, Surface

UNPROCESSABLE: Final = 422
HTTP_TYPE: Final = "HTTPException"


def render(fault: Fault) -> Mapping[str, object]:
    """This form has no details, so the fields of a 422 are named in its message."""
    return {
        "success": False,
        "error": {
            "code": f"HTTP_{fault.status}",
            "message": _message(fault),
            "type": HTTP_TYPE,
        },
    }


def _message(fault: Fault) -> str:
    if fault.status != UNPROCESSABLE:
        return fault.message
    fields = fault.details.get("fields")
    if isinstance(fields, list) and fields and all(isinstance(item, dict) for item in fields):
        return "; ".join(f"{item.get('field')}: {item.get('message')}" for item in fields)
    field = fault.details.get("field")
    if isinstance(field, str) and field not in fault.message:
        return f"{field}: {fault.message}"
    return fault.message


KLIKYAI: Final = Surface(
    name="KlikyaiError",
    render=render,
    error_schema={
        "type": "object",
        "required": ["success", "error"],
        "properties": {
            "success": {"const": False},
            "error": {
                "type": "object",
                "required": ["code", "message", "type"],
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
)
