"""KLIKYAI's form of an error: `{"success": false, "error": {"code", "message", "type"}}`."""

from collections.abc import Mapping
from typing import Final

from services.gateway.surfaces.fault import Fault, Surface, words_of

UNPROCESSABLE: Final = 422
HTTP_TYPE: Final = "HTTPException"


def render(fault: Fault) -> Mapping[str, object]:
    """This form has no details, so the fields of a 422 are named in its message."""
    return {
        "success": False,
        "error": {
            "code": f"HTTP_{fault.status}",
            "message": words_of(fault) if fault.status == UNPROCESSABLE else fault.message,
            "type": HTTP_TYPE,
        },
    }


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
