"""The port to vendors: submit a job, look at it, cancel it. No adapter decides what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Job:
    """What a vendor is asked for: one output. `width` and `height` in pixels."""

    model: str
    prompt: str
    width: int
    height: int
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    provider_job_id: str


class Fault(StrEnum):
    """Why a vendor did not, or will not."""

    AUTH = "auth"
    CREDITS = "credits"
    INVALID = "invalid"
    MODERATED = "moderated"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    LOST = "lost"
    UNKNOWN = "unknown"


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


Submission: TypeAlias = Accepted | Refused
Look: TypeAlias = Running | Succeeded | Refused


class Provider(Protocol):
    """One vendor, with one key. Calls never raise for what a vendor or a network does."""

    async def submit(self, job: Job) -> Submission: ...

    async def look(self, provider_job_id: str) -> Look: ...

    async def aclose(self) -> None: ...
