"""Generation's tasks, asked for what has become of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from kernel.errors import Unavailable
from kernel.http.peer import Peer

STATES: Final = "/internal/tasks/states"
LIVE: Final = "/internal/tasks/live"
HISTORY: Final = "/internal/tasks/history"
STATES_MAX: Final = 500
LIVE_MAX: Final = 1_000

B = TypeVar("B", bound=BaseModel)
_log = structlog.get_logger(__name__)


class TaskState(BaseModel):
    """`ended_at` is None while the task lives; then nothing is charged yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str
    account_id: UUID
    price_units: NonNegativeInt
    charged_units: NonNegativeInt
    outcome: str
    ended_at: datetime | None


class LiveTask(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: UUID
    account_id: UUID
    price_units: NonNegativeInt
    since: datetime


class LivePage(BaseModel):
    """`next` is what to ask for after this page; None after the last."""

    tasks: list[LiveTask]
    next: UUID | None


class Limited(BaseModel):
    """By the monthly limit of the key that asked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    limit_units: NonNegativeInt
    used_units: NonNegativeInt


class TaskFacts(BaseModel):
    """What of an event explains a charge; whatever else it may say is not taken."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_type: str | None = None
    model_id: str | None = None
    provider: str | None = None
    own_key: bool | None = None
    outputs: NonNegativeInt | None = None
    price_units: NonNegativeInt | None = None
    required_units: NonNegativeInt | None = None
    available_units: NonNegativeInt | None = None
    limited: Limited | None = None
    index: NonNegativeInt | None = None
    attempt: NonNegativeInt | None = None
    code: str | None = None
    charged_units: NonNegativeInt | None = None
    outcome: str | None = None


class TaskEvent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: UUID
    type: str
    at: datetime
    causation_id: UUID | None
    correlation_id: str
    facts: TaskFacts


class _History(BaseModel):
    events: list[TaskEvent]


class _States(BaseModel):
    tasks: dict[UUID, TaskState]


class GenerationTasks:
    """Each question raises `Unavailable` when there is no answer that can be believed."""

    def __init__(self, generation: Peer) -> None:
        self._generation = generation

    async def states(self, task_ids: Sequence[UUID]) -> Mapping[UUID, TaskState]:
        """Of at most `STATES_MAX` tasks; those that generation does not know are left out."""
        question = {"task_ids": [str(task_id) for task_id in task_ids]}
        return (await self._asked(STATES, question, _States)).tasks

    async def live(self, after: UUID | None) -> LivePage:
        """At most `LIVE_MAX` tasks that have their credits and have not ended, by their ids."""
        question = {"after": str(after) if after else None, "limit": LIVE_MAX}
        return await self._asked(LIVE, question, LivePage)

    async def history(self, task_id: UUID) -> Sequence[TaskEvent]:
        """What happened to the task, in order; nothing if generation does not know it."""
        return (await self._asked(HISTORY, {"task_id": str(task_id)}, _History)).events

    async def _asked(self, path: str, question: Mapping[str, object], kind: type[B]) -> B:
        answer = await self._generation.ask(path, question)
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError:  # nor is a refusal an answer
            _log.error("generation_unreadable", path=path, status=answer.status_code)
            raise Unavailable("unavailable", "Not now; ask again.", retry_after_s=1) from None
