"""An output is expected, then stored or rejected, once and for good. What is stored is erased with
its owner, with its task, or because its user wants so.

It knows no bytes and no addresses. Sizes are bytes, sides are pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from kernel.errors import NotFound
from kernel.messages import Aggregate, Decider

NOBODY: Final = UUID(int=0)
DELETED: Final = "deleted"
EXPIRED: Final = "expired"
ERASED: Final = "erased"
"""Why a file is gone: its user wanted so, its time was over, its user was erased."""

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "image/png": ("images", "png"),
    "image/jpeg": ("images", "jpg"),
    "image/webp": ("images", "webp"),
    "image/gif": ("images", "gif"),
    "video/mp4": ("videos", "mp4"),
    "audio/mpeg": ("audio", "mp3"),
    "audio/wav": ("audio", "wav"),
}
"""Of each type that is kept: its folder and its extension."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is kept under `key`; `sha256` in hex, of exactly the bytes that are served. `safety` is
    allow or review by `nsfw_score`, 0 to 1; both are None where nothing was scored."""

    key: str
    mime_type: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    thumbnail_key: str | None
    blurhash: str | None = None
    nsfw_score: float | None = None
    safety: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectOutput:
    """Output `index` of the task waits to be fetched; None where nothing of that was asked for."""

    task_id: UUID
    user_id: UUID
    index: int
    task_type: str
    width: int | None
    height: int | None
    duration_seconds: float | None = None
    mime_type: str | None = None
    account_id: UUID | None = None
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeepOutput:
    file: StoredFile


@dataclass(frozen=True, slots=True)
class RefuseOutput:
    """`message` is for the user: no address, no host."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class EraseOutput:
    """Nobody is to have it any more, and its objects are gone."""

    reason: str = ERASED


@dataclass(frozen=True, slots=True)
class OutputExpected:
    task_id: UUID
    user_id: UUID
    index: int
    task_type: str
    width: int | None
    height: int | None
    duration_seconds: float | None = None
    mime_type: str | None = None
    account_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class OutputStored:
    """`account_id` pays for its storage; None where nobody knew it yet."""

    task_id: UUID
    user_id: UUID
    index: int
    file: StoredFile
    account_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class OutputRejected:
    task_id: UUID
    user_id: UUID
    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class OutputErased:
    """`key` and `size` are those of the file; an early event lacks them."""

    task_id: UUID
    user_id: UUID
    index: int
    key: str = ""
    size: int = 0
    account_id: UUID | None = None
    reason: str = ERASED


OutputCommand: TypeAlias = ExpectOutput | KeepOutput | RefuseOutput | EraseOutput
OutputEvent: TypeAlias = OutputExpected | OutputStored | OutputRejected | OutputErased


class Status(StrEnum):
    NONE = "none"
    EXPECTED = "expected"
    STORED = "stored"
    REJECTED = "rejected"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Output:
    status: Status = Status.NONE
    task_id: UUID = NOBODY
    user_id: UUID = NOBODY
    index: int = 0
    account_id: UUID | None = None
    key: str = ""
    size: int = 0


def evolve_output(state: Output, event: OutputEvent) -> Output:
    match event:
        case OutputExpected():
            return Output(
                Status.EXPECTED, event.task_id, event.user_id, event.index, event.account_id
            )
        case OutputStored(file=file):
            return replace(state, status=Status.STORED, key=file.key, size=file.size)
        case OutputRejected():
            return replace(state, status=Status.REJECTED)
        case OutputErased():
            return replace(state, status=Status.ERASED)
        case _:
            assert_never(event)


def decide_output(command: OutputCommand, state: Output) -> Sequence[OutputEvent]:
    """The first ending stands; repeats and what comes after it are nothing, but for the erasure of
    what was stored.

    Raises `NotFound` (`output_not_expected`) for the ending of what was never expected.
    """
    if isinstance(command, ExpectOutput):
        return () if state.status != Status.NONE else (_expected(command),)
    if state.status == Status.NONE:
        raise NotFound("output_not_expected", "Nobody has announced this output.")
    if isinstance(command, EraseOutput):
        return (_erased(state, command.reason),) if state.status == Status.STORED else ()
    if state.status != Status.EXPECTED:
        return ()
    match command:
        case KeepOutput(file):
            return (_stored(state, file),)
        case RefuseOutput(code, message):
            return (OutputRejected(state.task_id, state.user_id, state.index, code, message),)
        case _:
            assert_never(command)


def _expected(command: ExpectOutput) -> OutputExpected:
    return OutputExpected(
        task_id=command.task_id,
        user_id=command.user_id,
        index=command.index,
        task_type=command.task_type,
        width=command.width,
        height=command.height,
        duration_seconds=command.duration_seconds,
        mime_type=command.mime_type,
        account_id=command.account_id,
    )


def _stored(state: Output, file: StoredFile) -> OutputStored:
    return OutputStored(state.task_id, state.user_id, state.index, file, state.account_id)


def _erased(state: Output, reason: str) -> OutputErased:
    return OutputErased(
        task_id=state.task_id,
        user_id=state.user_id,
        index=state.index,
        key=state.key,
        size=state.size,
        account_id=state.account_id,
        reason=reason,
    )


OUTPUT: Aggregate[OutputEvent, Output] = Aggregate(
    name="output",
    state=Output,
    initial_state=Output,
    evolve=evolve_output,
    events=(OutputExpected, OutputStored, OutputRejected, OutputErased),
)
OUTPUTS: Decider[OutputCommand, OutputEvent, Output] = Decider(OUTPUT, decide_output)


def stream_of(task_id: UUID, index: int) -> str:
    return OUTPUT.stream_id(f"{task_id}-{index}")


def output_key(user_id: UUID, task_id: UUID, index: int, mime_type: str) -> str:
    """Where a generated output lies; it depends on no content but the output's type."""
    folder, extension = PLACES[mime_type]
    return f"{folder}/generated/{user_id.hex}/{_name(task_id, index)}.{extension}"


def output_keys(user_id: UUID, task_id: UUID, index: int) -> Sequence[str]:
    """Where it may lie, whatever its type."""
    return [output_key(user_id, task_id, index, mime_type) for mime_type in PLACES]


def thumbnail_key(task_id: UUID, index: int) -> str:
    """Where its small picture lies: of a film a frame, of a sound its waveform."""
    return f"images/thumbnails/{_name(task_id, index)}.webp"


def _name(task_id: UUID, index: int) -> str:
    """The task's first output has the task's name alone."""
    return f"{task_id.hex}_{index}" if index else task_id.hex
