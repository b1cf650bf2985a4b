"""How HeyGen takes a key and says no, in v3's form and in v2's."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.simulator.api.desk import Desk
from services.simulator.domain.orders import Refused

VENDOR: Final = "heygen"


def key_of(desk: Desk, request: Request) -> str:
    """The digest of the caller's key, or v3's refusal."""
    return desk.key(request, request.headers.get("x-api-key", ""))


def say_v3(refused: Refused) -> Response:
    error = {"code": refused.word, "message": refused.message}
    if refused.field:
        error["param"] = refused.field
    return _said({"error": error}, refused)


def say_v2(refused: Refused) -> Response:
    error = {"code": refused.word, "message": refused.message}
    return _said({"data": None, "error": error}, refused)


def _said(body: Any, refused: Refused) -> Response:
    headers = {"retry-after": str(refused.retry_after_s)} if refused.retry_after_s else {}
    return JSONResponse(body, refused.code, headers)


def data_v2(data: Any) -> Response:
    return JSONResponse({"error": None, "data": data})
