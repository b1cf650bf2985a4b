"""KLIKYAI's form of an error: `{"success": false, "error": {"code", "message", "type"}}`."""

from collections.abc import Mapping
from typing import Final

from services.gateway.surfaces.fault import Fault, Surface, words_of

UNPROCESSABLE: Final = 422
HTTP_TYPE: Final = "HTTPException"
BUSINESS: Final = 400
_BUSINESS_TYPES: Final = {
    "insufficient_credits": "InsufficientCreditsError",
    "monthly_credit_limit_reached": "InsufficientCreditsError",
    "provider_not_configured": "APIKeyMissingError",
    "own_key_refused": "APIKeyMissingError",
    "external_api_error": "ExternalAPIError",
}
"""The seed's refusals that are no HTTP errors: told with 400, and with their code in capitals."""


def status_of(fault: Fault) -> int:
    return BUSINESS if fault.code in _BUSINESS_TYPES else fault.status


def render(fault: Fault) -> Mapping[str, object]:
    """This form has no details, so the fields of a 422 are named in its message."""
    business = _BUSINESS_TYPES.get(fault.code)
    if business is not None:
        return {
            "success": False,
            "error": {"code": fault.code.upper(), "message": fault.message, "type": business},
        }
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
    status_of=status_of,
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
