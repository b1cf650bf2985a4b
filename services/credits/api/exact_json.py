"""Numbers of JSON as they are written, in and out, where a binary fraction would change them.

JSON has decimals (RFC 8259, 6), and Python reads them as floats: a fifth decimal place would be
gone before anybody could refuse it, and from 2**39 credits on a fourth one is not kept.
"""

import json
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, WithJsonSchema

from kernel.money import PLACES

REPLAYED: Final[Mapping[str, str]] = {"Idempotency-Replayed": "true"}

Credits = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""Of an answer: a JSON number with 4 places."""


class _ExactRequest(Request):
    async def json(self) -> Any:
        return json.loads(await self.body(), parse_float=exact_number)


class ExactRoute(APIRoute):
    """A route of whose body numbers with a point arrive as decimals."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(_ExactRequest(request.scope, request.receive))

        return handle_exactly


class ExactResponse(JSONResponse):
    """The JSON of a model, decimals as numbers."""

    def render(self, content: BaseModel) -> bytes:
        return exact_text(content).encode()


def replayed(status: int, text: str) -> Response:
    """An answer that was kept as `exact_text`."""
    return Response(text, status, REPLAYED, media_type=JSONResponse.media_type)


def exact_credits(units: int) -> Decimal:
    return Decimal(units).scaleb(-PLACES)


def exact_number(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond any amount: what becomes of it is refused
        return float(text)


def exact_text(model: BaseModel) -> str:
    return _text(model.model_dump())


def _text(value: Any) -> str:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return json.dumps(value.isoformat().replace("+00:00", "Z"))
        case dict():
            members = (f"{json.dumps(name)}:{_text(item)}" for name, item in value.items())
            return "{" + ",".join(members) + "}"
        case list():
            return "[" + ",".join(map(_text, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
