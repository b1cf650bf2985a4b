"""The outcome policy, for whoever wants to know beforehand who pays for what."""

from fastapi import APIRouter
from pydantic import BaseModel

from kernel.http import Caller
from services.generation.domain.outcomes import OUTCOMES


class OutcomeBody(BaseModel):
    """A task's `outcome` is the `name` of one; with `user_pays` its whole price is charged,
    otherwise nothing."""

    name: str
    user_pays: bool
    meaning: str


class OutcomeTable(BaseModel):
    success: bool
    outcomes: list[OutcomeBody]


def add_outcomes(router: APIRouter) -> None:
    @router.get("/outcomes")
    async def list_outcomes(_: Caller) -> OutcomeTable:
        """How a task can end, and who pays for it then."""
        rows = [
            OutcomeBody(name=row.name, user_pays=row.user_pays, meaning=row.meaning)
            for row in OUTCOMES.values()
        ]
        return OutcomeTable(success=True, outcomes=rows)
