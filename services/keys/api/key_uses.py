"""HTTP in, for the gateway alone: which keys were used, by whom, and how often."""

import unicodedata
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from kernel.http import Caller
from kernel.http.client import AGENT_LENGTH_MAX
from services.keys.adapters import KeyUsage, Use
from services.keys.api.resolve import require_gateway

USES_MAX = 1_000
ADDRESS_LENGTH_MAX = 64
REQUESTS_MAX = 1_000_000_000


def _storable(text: str) -> str:
    """A client writes its agent as it likes; one odd character must not lose everybody's uses."""
    return "".join(
        "\ufffd" if unicodedata.category(character) == "Cc" else character for character in text
    )


class UsedKey(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key_id: UUID
    address: Annotated[str, Field(max_length=ADDRESS_LENGTH_MAX), AfterValidator(_storable)]
    agent: Annotated[str, Field(max_length=AGENT_LENGTH_MAX), AfterValidator(_storable)]
    requests: Annotated[int, Field(ge=1, le=REQUESTS_MAX)]
    last_used_at: AwareDatetime


class UsedRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    uses: Annotated[tuple[UsedKey, ...], Field(max_length=USES_MAX)]


def key_use_routes(usage: KeyUsage) -> APIRouter:
    router = APIRouter(prefix="/internal/keys", tags=["internal"])

    @router.post("/used", status_code=204)
    async def used(caller: Caller, body: UsedRequest) -> None:
        """Adds to what is known already, so a call that is repeated counts twice; keys that are not
        there are passed over."""
        require_gateway(caller)
        await usage.add(
            [
                Use(use.key_id, use.address, use.agent, use.last_used_at, use.requests)
                for use in body.uses
            ]
        )

    return router
