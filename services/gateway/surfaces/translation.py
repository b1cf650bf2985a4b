"""What a surface needs to say a route in the native words: what was asked, and whom to ask.

A translation holds no rule of the product: it names fields anew, and the services decide.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kernel.errors import Invalid
from services.gateway.surfaces.fault import Fault

M = TypeVar("M", bound=BaseModel)

TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 1_048_576


class Asked(NamedTuple):
    """A client's request: its path's last segment, its query as it came, its whole body."""

    last_segment: str
    query: bytes
    body: bytes


class Said(NamedTuple):
    """What the client is told; no body where it is None."""

    status: int
    body: BaseModel | None = None


class Native(Protocol):
    """The route's service, asked as the client who asked the edge."""

    async def __call__(
        self, method: str, path: str, body: Mapping[str, object] | None = None, query: bytes = b""
    ) -> Any:
        """The JSON of a success, None without one. A refusal ends the translation: the client is
        told it in the form of the surface."""


class Ended(Exception):
    """What was asked for ended badly, though no service refused anything."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Translation:
    """`accepts`, `answers` and `query` (names that are passed on) are for the OpenAPI document;
    `timeout_s` is for all that it asks. `fields` are the surface's names for native ones, as
    `renamed` reads them: a refusal names the field that the client sent. No native answer may be
    larger than `answer_bytes_max`."""

    run: Callable[[Asked, Native], Awaitable[Said]]
    status: int
    accepts: type[BaseModel] | None = None
    answers: type[BaseModel] | None = None
    timeout_s: float = TIMEOUT_S
    query: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    answer_bytes_max: int = ANSWER_BYTES_MAX


class Strict(BaseModel):
    """A body that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def read(kind: type[M], body: bytes) -> M:
    """`body` as a `kind`. Raises `Invalid`, naming every field that is wrong."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fields = [
            {"field": ".".join(map(str, item["loc"])) or "body", "message": item["msg"]}
            for item in error.errors(include_input=False, include_url=False)
        ]
        words = "; ".join(f"{item['field']}: {item['message']}" for item in fields)
        raise Invalid("invalid_request", words, {"fields": fields}) from None
