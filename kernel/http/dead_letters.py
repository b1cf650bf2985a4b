"""HTTP in, for the gateway alone: the parked messages of one inbox, and their replay.

Made once for every service that hears. A letter says what it is and why it is parked, never what
the message carries.
"""

from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict

from kernel.http.identity import Caller
from kernel.inbox import Inbox

PATH: Final = "/internal/dead-letters"
LIMIT_MAX: Final = 100

_log = structlog.get_logger(__name__)


class DeadLetterBody(BaseModel):
    """A message that `consumer` parked after so many `attempts`, each counted since its replay."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    message_id: UUID
    consumer: str
    type: str
    subject: str
    correlation_id: str
    attempts: int
    error: str
    parked_at: AwareDatetime


class DeadLettersBody(BaseModel):
    dead_letters: list[DeadLetterBody]


class ReplayedBody(BaseModel):
    message_id: UUID
    consumer: str


def dead_letter_routes(inbox: Inbox) -> APIRouter:
    router = APIRouter(prefix=PATH, tags=["internal"])

    @router.get("")
    async def get_dead_letters(
        caller: Caller, limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_MAX
    ) -> DeadLettersBody:
        """What is parked, the oldest first."""
        caller.require_admin()
        letters = [_body(inbox.consumer, row) for row in await inbox.parked(limit)]
        return DeadLettersBody(dead_letters=letters)

    @router.post("/{message_id}/replay", status_code=202)
    async def replay(caller: Caller, message_id: UUID) -> ReplayedBody:
        """Make it due now; 404 `dead_letter_not_found` when it is not parked here."""
        caller.require_admin()
        await inbox.replay(message_id)
        _log.info(
            "dead_letter_replayed",
            consumer=inbox.consumer,
            message_id=str(message_id),
            by_user_id=str(caller.user_id),
        )
        return ReplayedBody(message_id=message_id, consumer=inbox.consumer)

    return router


def _body(consumer: str, row: dict[str, Any]) -> DeadLetterBody:
    envelope = row["envelope"]
    return DeadLetterBody(
        message_id=row["message_id"],
        consumer=consumer,
        type=envelope["type"],
        subject=envelope["subject"],
        correlation_id=envelope["correlationid"],
        attempts=row["attempts"],
        error=row["error"],
        parked_at=row["parked_at"],
    )
