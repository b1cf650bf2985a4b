"""HTTP in: why one of the caller's tasks was charged, from its request to its ledger entries."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from kernel.errors import NotFound, Unavailable
from kernel.event_store import EventStore
from kernel.http import Caller
from kernel.identifiers import parsed, shown
from kernel.unit import Recorded
from services.credits import read_model
from services.credits.adapters.generation_tasks import GenerationTasks, TaskEvent
from services.credits.api.answers import BalanceBody, balance_body
from services.credits.api.exact_json import Credits, ExactResponse, exact_credits
from services.credits.domain import (
    HOLD,
    Explanation,
    Facts,
    Happening,
    HoldEvent,
    TransferKind,
    explained,
    told,
)

UNITS: Final = "_units"


class EntryBody(BaseModel):
    """A ledger entry. One of kind `loss` is the platform's, and leaves the balance as it was."""

    id: str
    kind: str
    amount: Credits
    balance_after: BalanceBody | None


class StepBody(BaseModel):
    """What happened in `service`. `caused_by` is the event that led there (that of a service which
    has no part in the charge is not listed); `facts` are amounts in credits, and words. The first
    step is the request itself, which is no event."""

    service: str
    type: str
    event_id: str | None
    at: datetime | None
    caused_by: str | None
    request_id: str
    facts: dict[str, Credits | bool | int | str]
    entry: EntryBody | None


class ExplanationAnswer(BaseModel):
    """`outcome` is the row of the outcome policy that says who pays; null before the end. Unless
    `complete`, generation did not answer, and its part is left out."""

    success: Literal[True] = True
    task_id: str
    complete: bool
    price: Credits | None
    outcome: str | None
    charged: Credits
    refunded: Credits
    steps: list[StepBody]


def explanation_routes(store: EventStore, tasks: GenerationTasks) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation/credits", tags=["credits"])

    @router.get("/explain/{task_id}", response_model=ExplanationAnswer)
    async def explain_task(caller: Caller, task_id: str) -> ExactResponse:
        """What led to the task's charge, or to none: each effect after its cause, with the ledger
        entry that was made."""
        identity = parsed("task", task_id)
        if identity is None:
            raise _task_not_found()
        recorded = await read_model.history_of_hold(store.database, store.codec, identity)
        hold = HOLD.fold(one.event for one in recorded)
        if hold.account_id != caller.account_id:
            raise _task_not_found()
        explanation = explained(
            await _heard_of(tasks, identity), [_of_ledger(one) for one in recorded], hold
        )
        entries = await read_model.entries_of_task(store.database, caller.account_id, identity)
        return ExactResponse(_answer(task_id, explanation, entries))

    return router


def _task_not_found() -> NotFound:
    """The same whether it is another account's, or nobody's."""
    return NotFound("task_not_found", "There is no such task.")


async def _heard_of(tasks: GenerationTasks, task_id: UUID) -> Sequence[Happening]:
    """Nothing when generation does not answer."""
    try:
        return [_of_generation(event) for event in await tasks.history(task_id)]
    except Unavailable:
        return ()


def _of_generation(event: TaskEvent) -> Happening:
    facts = event.facts.model_dump(exclude={"limited"})
    limited = event.facts.limited
    return Happening(
        service="generation",
        type=event.type,
        event_id=event.event_id,
        at=event.at,
        causation_id=event.causation_id,
        request_id=event.correlation_id,
        facts=facts if limited is None else facts | limited.model_dump(),
    )


def _of_ledger(recorded: Recorded[HoldEvent]) -> Happening:
    name, facts, entered = told(recorded.event)
    cause = recorded.origin.causation_id
    return Happening(
        service="credits",
        type=name,
        event_id=recorded.event_id,
        at=recorded.at,
        causation_id=None if cause is None else UUID(cause),
        request_id=recorded.origin.correlation_id,
        facts=facts,
        entered=entered,
    )


def _answer(
    task_id: str, explanation: Explanation, entries: Iterable[read_model.Transaction]
) -> ExplanationAnswer:
    made: dict[str, deque[read_model.Transaction]] = defaultdict(deque)
    for entry in entries:
        made[entry.kind].append(entry)
    request = StepBody(
        service="gateway",
        type="Request",
        event_id=None,
        at=None,
        caused_by=None,
        request_id=explanation.request_id,
        facts={},
        entry=None,
    )
    price_units = explanation.price_units
    return ExplanationAnswer(
        task_id=task_id,
        complete=explanation.is_complete,
        price=None if price_units is None else exact_credits(price_units),
        outcome=explanation.outcome,
        charged=exact_credits(explanation.charged_units),
        refunded=exact_credits(explanation.refunded_units),
        steps=[request, *(_step(one, made) for one in explanation.happenings)],
    )


def _step(happening: Happening, made: dict[str, deque[read_model.Transaction]]) -> StepBody:
    """`made` are the task's entries by kind: of each kind, they are in the order of its events."""
    entry = None
    if happening.entered is TransferKind.LOSS:
        entry = _loss_body(happening)
    elif happening.entered is not None and made[happening.entered]:
        entry = _entry_body(made[happening.entered].popleft())
    cause = happening.causation_id
    return StepBody(
        service=happening.service,
        type=happening.type,
        event_id=shown("event", happening.event_id),
        at=happening.at,
        caused_by=None if cause is None else shown("event", cause),
        request_id=happening.request_id,
        facts=_shown_facts(happening.facts),
        entry=entry,
    )


def _entry_body(entry: read_model.Transaction) -> EntryBody:
    return EntryBody(
        id=shown("entry", entry.entry_id),
        kind=entry.kind,
        amount=exact_credits(entry.amount_units),
        balance_after=balance_body(entry.after),
    )


def _loss_body(happening: Happening) -> EntryBody:
    """The event itself is the entry."""
    amount_units = happening.facts["amount_units"]
    assert isinstance(amount_units, int), "as `told` says it"
    return EntryBody(
        id=shown("entry", happening.event_id),
        kind=TransferKind.LOSS,
        amount=exact_credits(amount_units),
        balance_after=None,
    )


def _shown_facts(facts: Facts) -> dict[str, Credits | bool | int | str]:
    """Units as credits, what is not known left out."""
    return {
        name.removesuffix(UNITS): exact_credits(value)
        if name.endswith(UNITS) and isinstance(value, int)
        else value
        for name, value in facts.items()
        if value is not None
    }
