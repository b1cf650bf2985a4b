"""The saga's vocabulary: what may be asked of a task, and what can have happened to it.

Amounts are integers of 1/10,000 credit; `width` and `height` are pixels of each output, None for
what has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from services.generation.domain.prices import LengthPrice


@dataclass(frozen=True, slots=True)
class CreateTask:
    """`width` and `height` are pixels of each of `outputs`, None for what has none, or where the
    vendor decides; so is `duration_s`, and `meter` then says what is owed for the real length.
    `mime_type` is what was asked for, None for any of its kind. `price_book` is the version that
    it was priced by; `vendor_model` is the model's name at the provider. With `own_key` it is made
    under its user's own key of the provider, and priced so."""

    task_id: UUID
    user_id: UUID
    account_id: UUID
    key_id: UUID | None
    monthly_credit_limit_units: int | None
    task_type: str
    model_id: str
    provider: str
    price_units: int
    outputs: int
    width: int | None
    height: int | None
    prompt_sha256: str
    deadline_at: datetime
    at: datetime
    own_key: bool = False
    duration_s: float | None = None
    mime_type: str | None = None
    meter: LengthPrice | None = None
    price_book: str = ""
    vendor_model: str = ""


@dataclass(frozen=True, slots=True)
class MonthlyLimitReached:
    """Of the API key that asked: `used_units` of `limit_units` are spent this month or held."""

    limit_units: int
    used_units: int


@dataclass(frozen=True, slots=True)
class HearReserved:
    at: datetime


@dataclass(frozen=True, slots=True)
class HearDeclined:
    """The ledger's answer is no: so much is required, only so much available. `limited` is given
    where the key's monthly limit is why."""

    required_units: int
    available_units: int
    at: datetime
    limited: MonthlyLimitReached | None = None


@dataclass(frozen=True, slots=True)
class GiveUpReserving:
    """The ledger was silent for too long. Loses to a reservation that was heard meanwhile."""

    at: datetime


@dataclass(frozen=True, slots=True)
class RecordSubmitted:
    """The provider has accepted the job of output `index`."""

    index: int
    attempt: int
    provider: str
    provider_job_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordAttemptFailed:
    """Nothing came of an attempt at output `index`, and nothing of it can still be billed: another
    one follows."""

    index: int
    attempt: int
    provider: str
    fault: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordProduced:
    """`url` is the vendor's; where the output came with its answer, `object_key` is where the
    object store holds it, and `url` is empty. `provider` is who made it."""

    index: int
    url: str
    at: datetime
    object_key: str | None = None
    provider: str = ""


@dataclass(frozen=True, slots=True)
class HearStored:
    """Storage keeps output `index`; `file` are its facts, as storage told them."""

    index: int
    file: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class HearGone:
    """Storage keeps output `index` no more."""

    index: int
    at: datetime


@dataclass(frozen=True, slots=True)
class FailTask:
    """`outcome` is a row of the policy; `code` and `message` are what the user reads."""

    outcome: str
    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CancelTask:
    at: datetime


@dataclass(frozen=True, slots=True)
class RemoveTask:
    """Its user wants nothing of it any more; only of a task that has ended."""

    at: datetime


TaskCommand: TypeAlias = (
    CreateTask
    | HearReserved
    | HearDeclined
    | GiveUpReserving
    | RecordSubmitted
    | RecordAttemptFailed
    | RecordProduced
    | HearStored
    | HearGone
    | FailTask
    | CancelTask
    | RemoveTask
)


@dataclass(frozen=True, slots=True)
class TaskCreated:
    task_id: UUID
    user_id: UUID
    account_id: UUID
    key_id: UUID | None
    monthly_credit_limit_units: int | None
    task_type: str
    model_id: str
    provider: str
    price_units: int
    outputs: int
    width: int | None
    height: int | None
    prompt_sha256: str
    deadline_at: datetime
    at: datetime
    own_key: bool = False
    duration_s: float | None = None
    mime_type: str | None = None
    meter: LengthPrice | None = None
    price_book: str = ""
    vendor_model: str = ""


@dataclass(frozen=True, slots=True)
class TaskReserved:
    task_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskDeclined:
    """It ends before it began, for want of credits. Not listed among the user's tasks."""

    task_id: UUID
    required_units: int
    available_units: int
    at: datetime
    limited: MonthlyLimitReached | None = None


@dataclass(frozen=True, slots=True)
class ProviderJobSubmitted:
    task_id: UUID
    index: int
    attempt: int
    provider: str
    provider_job_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ProviderAttemptFailed:
    task_id: UUID
    index: int
    attempt: int
    provider: str
    fault: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """`provider` is who makes it: not who was asked first, where that one was down."""

    task_id: UUID
    user_id: UUID
    provider: str
    at: datetime


@dataclass(frozen=True, slots=True)
class OutputProduced:
    task_id: UUID
    user_id: UUID
    account_id: UUID
    index: int
    task_type: str
    url: str
    width: int | None
    height: int | None
    at: datetime
    object_key: str | None = None
    duration_s: float | None = None
    mime_type: str | None = None
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutputKept:
    task_id: UUID
    index: int
    file: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class OutputGone:
    """Its file was deleted; that it was made, and what it cost, stays."""

    task_id: UUID
    index: int
    at: datetime


@dataclass(frozen=True, slots=True)
class OutputCameLate:
    """A vendor made output `index` after the task had ended: nobody gets it, and nobody pays the
    `price_units` that it would have cost."""

    task_id: UUID
    account_id: UUID
    index: int
    provider: str
    price_units: int
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskCompleted:
    task_id: UUID
    user_id: UUID
    account_id: UUID
    model_id: str
    charged_units: int
    outcome: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskFailed:
    task_id: UUID
    user_id: UUID
    account_id: UUID
    code: str
    message: str
    charged_units: int
    outcome: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskCancelled:
    task_id: UUID
    user_id: UUID
    account_id: UUID
    charged_units: int
    outcome: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskRemoved:
    """Nobody sees it or its `outputs` any more; what it cost stays as it was."""

    task_id: UUID
    user_id: UUID
    outputs: int
    at: datetime


TaskEvent: TypeAlias = (
    TaskCreated
    | TaskReserved
    | TaskDeclined
    | ProviderJobSubmitted
    | ProviderAttemptFailed
    | TaskStarted
    | OutputProduced
    | OutputKept
    | OutputGone
    | TaskCompleted
    | TaskFailed
    | TaskCancelled
    | OutputCameLate
    | TaskRemoved
)
