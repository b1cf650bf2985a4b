"""The port to vendors: submit a job, look at it, cancel it. No adapter decides what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True, slots=True)
class InputImage:
    """A picture that the result begins with, or is made of: at most a few MB."""

    content: bytes
    mime_type: str


@dataclass(frozen=True, slots=True)
class Job:
    """What a vendor is asked for: one output. `width` and `height` in pixels and `duration_s` are
    None where the vendor decides. `prompt` is what is spoken where something is. `key` is the same
    for every try to submit this job, for vendors that know a repeat by it; at
    `callback_url`, where there is one, they may say that it has ended."""

    model: str
    prompt: str
    width: int | None
    height: int | None
    options: Mapping[str, Any]
    task_type: str = "image"
    duration_s: float | None = None
    input_image: InputImage | None = None
    key: str = ""
    callback_url: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    provider_job_id: str


@dataclass(frozen=True, slots=True)
class Made:
    """The answer was the output itself: the vendor keeps nothing, and has no job to look at."""

    content: bytes


class Fault(StrEnum):
    """Why a vendor did not, or will not; `INPUT`: why none was asked."""

    AUTH = "auth"
    CREDITS = "credits"
    INPUT = "input"
    INVALID = "invalid"
    MODERATED = "moderated"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    LOST = "lost"
    UNKNOWN = "unknown"


OUTCOME_BY_FAULT: Mapping[Fault, tuple[str, str, str]] = {
    Fault.INPUT: ("input_refused", "invalid_input_image", "The input image can't be used."),
    Fault.INVALID: ("input_refused", "input_refused", "The provider refused the request."),
    Fault.MODERATED: ("output_moderated", "content_moderated", "The provider withheld the result."),
    Fault.FAILED: ("provider_failed", "provider_failed", "The provider could not make it."),
    Fault.LOST: ("provider_failed", "provider_failed", "The provider lost the job."),
    Fault.AUTH: ("provider_failed", "provider_unavailable", "The provider is not available."),
    Fault.CREDITS: ("provider_failed", "provider_unavailable", "The provider is not available."),
    Fault.UNKNOWN: ("provider_unknown", "provider_unknown", "The provider's answer was lost."),
}
"""What a task that can't go on is told: row of the outcome policy, code, words for its user."""
OWN_KEY_REFUSED = ("own_key_refused", "The provider does not take your own key, or for no job.")
"""What the task's user is told instead, where only they can mend it."""
KEY_FAULTS = frozenset({Fault.AUTH, Fault.CREDITS})
"""They are about the key and its account, not about the vendor."""
TRANSIENT = frozenset({Fault.RATE_LIMITED, Fault.UNAVAILABLE})
"""The vendor surely took nothing, and may take it later."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The vendor did not take the job, or it ended without a result.

    `UNKNOWN`: the request may have arrived, its answer did not. `message` is for people; it holds
    no secret.
    """

    fault: Fault
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """Not ended; `progress` is 0-100."""

    progress: int


@dataclass(frozen=True, slots=True)
class Succeeded:
    urls: tuple[str, ...]


Submission: TypeAlias = Accepted | Made | Refused
Look: TypeAlias = Running | Succeeded | Refused


@dataclass(frozen=True, slots=True)
class Voice:
    """Who can speak. `language` and `gender` in the vendor's words, empty where it says nothing."""

    voice_id: str
    name: str
    language: str
    gender: str
    preview_url: str | None


@dataclass(frozen=True, slots=True)
class Avatar:
    """Who can be seen speaking; `default_voice_id` is the voice that suits them."""

    avatar_id: str
    name: str
    gender: str
    preview_image_url: str | None
    preview_video_url: str | None
    default_voice_id: str | None


class Provider(Protocol):
    """One vendor, with one key. Calls never raise for what a vendor or a network does."""

    def under(self, api_key: str) -> "Provider":
        """The same vendor under another key, over the same connections: not to be closed."""
        ...

    async def submit(self, job: Job) -> Submission: ...

    async def look(self, provider_job_id: str) -> Look: ...

    async def cancel(self, provider_job_id: str) -> bool:
        """Whether the vendor has stopped the job, and will not bill it. False: it can't, or it did
        not say so."""
        ...

    async def find(self, job: Job) -> Submission | None:
        """After the answer to a submit of this very job (by its `key`) was lost: what came of it.

        `Accepted`: it is there. `Refused` with LOST: it is not, so that submitting it again can't
        bill it twice. Any other `Refused`: that could not be learned now, or what a submit says.
        None: the vendor gives no way to know.
        """
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Voices(Protocol):
    """A vendor that lists who can speak."""

    async def voices(self) -> Sequence[Voice] | Refused: ...


@runtime_checkable
class Avatars(Protocol):
    """A vendor that lists who can be seen."""

    async def avatars(self) -> Sequence[Avatar] | Refused: ...
