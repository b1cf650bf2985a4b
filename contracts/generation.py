"""What generation tells: the life of a task. Prompts are in no event: ids and facts only."""

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, NonNegativeInt, PositiveInt

from contracts.envelope import PublicEvent


class TaskCreated(PublicEvent):
    """A task asks credits for its price. `key_id` and its monthly limit are enforced there."""

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    task_id: UUID
    user_id: UUID
    account_id: UUID
    key_id: UUID | None
    monthly_credit_limit_units: NonNegativeInt | None
    task_type: str
    model_id: str
    price_units: NonNegativeInt
    created_at: AwareDatetime


class TaskStarted(PublicEvent):
    """A provider has accepted the task's first job."""

    owner: ClassVar[str] = "generation"

    task_id: UUID
    user_id: UUID
    provider: str
    started_at: AwareDatetime


class TaskProgressed(PublicEvent):
    """Broadcast only, never stored: the provider says how far it is (0-100)."""

    owner: ClassVar[str] = "generation"
    listeners: ClassVar[tuple[str, ...]] = ("generation",)
    stored: ClassVar[bool] = False

    task_id: UUID
    progress: NonNegativeInt


class TaskChanged(PublicEvent):
    """Broadcast only, never stored: the task's stream has this version now; waiters read again."""

    owner: ClassVar[str] = "generation"
    listeners: ClassVar[tuple[str, ...]] = ("generation",)
    stored: ClassVar[bool] = False

    task_id: UUID
    version: PositiveInt


class OutputProduced(PublicEvent):
    """A provider has made output `index` of the task; `url` lives as long as the provider says.

    A vendor that answers with the output itself leaves no address: then `url` is empty, and
    `object_key` is a claim check to the object store.

    The rest is what was asked for, and None where nothing was: `width` and `height` in pixels of a
    picture or film; `duration_seconds`, the exact length of a film or sound, None where the vendor
    decides, as with speech; `mime_type` of a film or sound, as "audio/wav", None for any of its
    kind (a picture may always be of any). `model_id` is the model's own name, never an alias.
    """

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("storage",)

    task_id: UUID
    user_id: UUID
    account_id: UUID
    index: NonNegativeInt
    task_type: str
    url: str
    width: PositiveInt | None
    height: PositiveInt | None
    object_key: str | None = None
    duration_seconds: float | None = None
    mime_type: str | None = None
    model_id: str | None = None


class TaskCompleted(PublicEvent):
    """Every output of the task is stored: `charged_units` is owed, the rest of the hold is not."""

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    task_id: UUID
    user_id: UUID
    account_id: UUID
    model_id: str
    charged_units: NonNegativeInt
    outcome: str
    completed_at: AwareDatetime


class TaskFailed(PublicEvent):
    """The task ended without a result; `outcome` names the policy row that says who pays."""

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    task_id: UUID
    user_id: UUID
    account_id: UUID
    code: str
    charged_units: NonNegativeInt
    outcome: str
    failed_at: AwareDatetime


class TaskCancelled(PublicEvent):
    """The user ended the task; `outcome` names the policy row that says who pays."""

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    task_id: UUID
    user_id: UUID
    account_id: UUID
    charged_units: NonNegativeInt
    outcome: str
    cancelled_at: AwareDatetime


class TaskRemoved(PublicEvent):
    """The user removed the task, which had ended: its outputs go, what it cost stays."""

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("storage",)

    task_id: UUID
    user_id: UUID
    outputs: PositiveInt
    removed_at: AwareDatetime


class LateOutputProduced(PublicEvent):
    """A provider made output `index` after its task had ended. Nobody gets it or is charged for it:
    the platform bears its `price_units`."""

    owner: ClassVar[str] = "generation"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    task_id: UUID
    account_id: UUID
    index: NonNegativeInt
    provider: str
    price_units: NonNegativeInt
    produced_at: AwareDatetime
