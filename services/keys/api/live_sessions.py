"""HTTP in, for the gateway alone: whether a session is open, and who is signed in by it now."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from kernel.errors import Forbidden, NotFound
from kernel.http import Caller
from kernel.http.identity import SERVICE_ROLE
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import Sessions
from services.keys.api.words import StrictRequest


class ResolveSessionRequest(StrictRequest):
    session_id: UUID


class LiveSession(BaseModel):
    """Role and plan are those of now, whatever an access token says."""

    session_id: UUID
    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    expires_at: datetime


def live_session_routes(database: Database, sessions: Sessions) -> APIRouter:
    router = APIRouter(prefix="/internal/sessions", tags=["internal"])

    @router.post("/resolve")
    async def resolve(caller: Caller, body: ResolveSessionRequest) -> LiveSession:
        """404 `session_not_found`, alike for ended and expired ones and for users who were disabled
        or erased."""
        if caller.role != SERVICE_ROLE:
            raise Forbidden("access_denied", "This is for the gateway.")
        session = await sessions.live(body.session_id)
        if session is None:
            raise _not_found()
        identity = await read_model.active_identity(database, session.user_id)
        if identity is None:
            raise _not_found()
        return LiveSession(
            session_id=session.session_id,
            user_id=session.user_id,
            account_id=identity["account_id"],
            role=identity["role"],
            plan=identity["plan"],
            expires_at=session.expires_at,
        )

    return router


def _not_found() -> NotFound:
    return NotFound("session_not_found", "There is no such session.")
