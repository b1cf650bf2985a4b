"""HTTP in, for the gateway alone: what an API key stands for, found by its hash."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from kernel.clock import Clock
from kernel.errors import Forbidden
from kernel.http import Caller, Identity
from kernel.http.identity import SERVICE_ROLE
from kernel.sql import Database
from services.keys import read_model
from services.keys.domain import key_not_found


class ResolveRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LiveKey(BaseModel):
    """Ids as the services know them; `monthly_credit_limit_units` in 1/10,000 credit.

    `version` is that of the secret that was asked for, `valid_until` the end of its grace period
    (null for the newest); `allowed_ips` is empty for anywhere, `rate_limits` (class of routes ->
    rate) holds what replaces the plan's.
    """

    key_id: UUID
    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    scopes: list[str]
    expires_at: datetime | None
    monthly_credit_limit_units: int | None
    version: int
    valid_until: datetime | None
    allowed_ips: list[str]
    rate_limits: dict[str, str]
    active: Literal[True] = True


def require_gateway(caller: Identity) -> None:
    """Raises `Forbidden` for everybody else."""
    if caller.role != SERVICE_ROLE:
        raise Forbidden("access_denied", "This is for the gateway.")


def resolve_routes(database: Database, clock: Clock) -> APIRouter:
    router = APIRouter(prefix="/internal/keys", tags=["internal"])

    @router.post("/resolve")
    async def resolve(caller: Caller, body: ResolveRequest) -> LiveKey:
        """404 `key_not_found`, alike for unknown, revoked, expired and deleted keys and for
        secrets whose grace is over."""
        require_gateway(caller)
        digest = bytes.fromhex(body.key_sha256)
        row = await read_model.live_key(database, digest, clock.now())
        if row is None:
            raise key_not_found()
        return LiveKey(**dict(row))

    return router
