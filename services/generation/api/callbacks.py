"""Where vendors call: a hint makes the next look due now. What they say is not even read."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from fastapi import APIRouter
from fastapi.responses import Response

from kernel.clock import Clock
from kernel.errors import NotFound
from kernel.sql import DATABASE_AWAY
from services.generation.adapters.callbacks import PATH, Callbacks
from services.generation.adapters.due_list import DueList

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Hints:
    callbacks: Callbacks
    due: DueList
    clock: Clock
    wake: Callable[[], None]

    async def hear(self, provider: str, token: str) -> None:
        """Raises `NotFound` for a token that was never made. One that comes while the database is
        away is lost: the job is looked at at its time."""
        job_id = self.callbacks.job_of(provider, token)
        if job_id is None:
            raise NotFound("not_found", "There is no such address.")
        try:
            await self.due.look_now(job_id, provider, self.clock.now())
        except (*DATABASE_AWAY, TimeoutError) as error:
            _log.warning("hint_lost", job_id=str(job_id), error=type(error).__name__)
        self.wake()


def callback_routes(hints: Hints) -> APIRouter:
    router = APIRouter(tags=["generation"])

    @router.post(f"{PATH}/{{provider}}/{{token}}", status_code=202, response_class=Response)
    async def hear_vendor(provider: str, token: str) -> Response:
        """A vendor says that a job may have ended. Nothing that it sends is believed."""
        await hints.hear(provider, token)
        return Response(status_code=202)

    return router
